import json

from ftheta.lifecycle.data_card import write_data_card


def test_the_card_is_all_that_is_seen_in_a_run_folder_and_one_that_says_as_much_stays(tmp_path):
    place = write_data_card(tmp_path, {"fingerprint": "one"}, "# a card\n", {"stages": {}}, {"sizes.png": b"picture"})
    assert [found.name for found in tmp_path.iterdir() if not found.name.startswith(".")] == ["data"] == [place.name]
    assert place.joinpath("card.md").read_text() == "# a card\n\n![sizes](sizes.png)\n"
    assert write_data_card(tmp_path, {"fingerprint": "one"}, "# less\n") == place and place.joinpath("sizes.png").read_bytes() == b"picture"
    write_data_card(tmp_path, {"fingerprint": "other"}, "# other\n")
    assert json.loads(place.joinpath("account.json").read_text()) == {"fingerprint": "other"} and place.joinpath("card.md").read_text() == "# other\n"
