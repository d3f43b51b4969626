"""De-duplication: signatures of documents, made shard by shard, and what is dropped or cut once all of them are compared."""

from ftheta.core.catalog import Catalogue

DEDUPLICATIONS = Catalogue(
    "deduplication",
    {
        "contamination": "ftheta.data.dedup.contamination:Contamination", "exact": "ftheta.data.dedup.exact:Exact", "near": "ftheta.data.dedup.near:Near",
        "substring": "ftheta.data.dedup.substring:Substring",
    },
)
