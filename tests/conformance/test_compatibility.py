"""`check` answers for every source × architecture × objective, and its answers are true."""

from ftheta.lifecycle.checking import compatibility

TEXTS = {"arithmetic", "chat", "completions", "mixture", "parallel", "prompts", "questions", "tagged_text", "text_files", "text_table"}
PICTURES = {"cifar10", "digits", "image_folder", "image_shards", "image_table", "mnist"}
FITS = {
    ("decoder", "next_token"): TEXTS, ("decoder", "prefix_lm"): TEXTS, ("decoder", "distillation"): TEXTS, ("decoder", "completion_policy"): {"completions"},
    ("decoder", "preference"): {"preferences"}, ("decoder", "kto"): {"judged"},
    ("encoder", "masked"): TEXTS, ("encoder", "distillation"): TEXTS,
    ("generator_discriminator", "replaced_token"): TEXTS,
    ("encoder_decoder", "next_token"): {"parallel"}, ("encoder_decoder", "distillation"): {"parallel"},
    ("encoder_decoder", "span_corruption"): TEXTS, ("encoder_decoder", "infilling"): TEXTS,
    ("headed", "next_sentence"): TEXTS, ("headed", "masked"): TEXTS, ("headed", "contrastive"): {*TEXTS, "pairs"}, ("headed", "distillation"): {*TEXTS, "choices"},
    ("headed", "classification"): {"text_table", "choices"}, ("headed", "regression"): {"text_table"}, ("headed", "span"): {"questions"},
    ("headed", "tagging"): {"tagged_text"}, ("headed", "reward"): {"preferences"}, ("headed", "next_token"): TEXTS, ("headed", "completion_policy"): {"completions"},
    ("headed", "preference"): {"preferences"}, ("headed", "kto"): {"judged"},
    ("prompted", "classification"): {"text_table"}, ("prompted", "distillation"): {"text_table"},
    ("headed", "multi_label"): {"text_table"}, ("prompted", "multi_label"): {"text_table"},
    **{(name, "multi_label"): {"image_table"} for name in ("convnet", "masked_autoencoder", "projected", "resnet", "self_taught", "vit")},
    **{(name, objective): PICTURES for name in ("convnet", "masked_autoencoder", "projected", "resnet", "self_taught", "vit") for objective in ("classification", "distillation")},
    **{(name, "contrastive"): PICTURES | {"coco", "coco_masks", "masks", "voc"} for name in ("convnet", "masked_autoencoder", "projected", "resnet", "self_taught", "vit")},
    **{(name, "masked_patches"): PICTURES | {"coco", "coco_masks", "masks", "voc"} for name in ("masked_autoencoder", "vit")},
    ("self_taught", "self_distillation"): PICTURES | {"coco", "coco_masks", "masks", "voc"},
    ("gan", "adversarial"): PICTURES, **{("detector", name): {"coco", "voc"} for name in ("anchor_detection", "detection", "region_detection", "set_prediction")},
    **{(name, "segmentation"): {"coco_masks", "masks"} for name in ("segmenter", "unet")},
    ("graph", "classification"): {"communities", "planetoid"}, ("graph", "distillation"): {"communities", "planetoid"}, ("actor_critic", "ppo"): {"rollouts"},
    ("kmeans", "fit"): {"csv", "sklearn_table"}, ("forest", "fit"): {"csv", "sklearn_table"}, ("linear", "fit"): {"csv", "sklearn_table"},
}


def test_the_matrix_is_what_it_should_be():
    found = {}
    for cell in compatibility():
        if not cell.reasons:
            found.setdefault((cell.architecture, cell.objective), set()).add(cell.source)
    assert found == FITS


def test_every_misfit_has_reasons_and_a_remedy():
    for cell in compatibility():
        for reason in cell.reasons:
            assert len(reason) > 40, cell
            assert any(word in reason for word in ("choose", "use ", "must", "leave", "shrink", " as ")), reason
