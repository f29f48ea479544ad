//! Seeds that once failed, and what they found. Each runs with the tests for ever.

/// Seed and finding.
pub const FAILED: &[(u64, &str)] = &[
    (19, "a session given up for its age failed with NotFound of its own pack"),
    (73, "a plan of collection took another collector's abort for a damaged log"),
    (77, "verification called packs of a newer key epoch damaged"),
    (177, "verification missed packs of points made while it ran"),
    (198, "verification missed packs of points purged while it ran"),
    (205, "a point that was had back was purged all the same"),
    (763, "a backup waited for ever for an upload slot that one of its sleepers was next for"),
    (412, "a collection called damaged what another had compacted while it looked"),
    (1505, "a purged base was called damage"),
    (2943, "the same, purged before the session began"),
    (3009, "a collection began anew for ever when two points were purged under it"),
    (4491, "as 412, of a map"),
    (9461, "as 412, once the index was merged between the pages of a listing"),
];
