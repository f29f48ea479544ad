//! How many writes the guest has done, and how long they took, as QEMU counts them for each device.

use crate::qmp::Qmp;
use crate::{Result, WriteLoad};
use serde_json::Value;
use std::time::Duration;

pub(super) async fn write_load(qmp: &Qmp) -> Result<WriteLoad> {
    Ok(sum(&qmp.execute("query-blockstats", Value::Null).await?))
}

/// A device's own statistics are what its guest sees: what a filter beneath it costs is in them.
fn sum(devices: &Value) -> WriteLoad {
    let mut load = WriteLoad::default();
    for stats in devices.as_array().into_iter().flatten().map(|device| &device["stats"]) {
        load.writes += stats["wr_operations"].as_u64().unwrap_or(0);
        load.busy += Duration::from_nanos(stats["wr_total_time_ns"].as_u64().unwrap_or(0));
    }
    load
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn all_devices_are_counted_and_latency_is_of_what_was_written_in_between() {
        let device =
            |writes: u64, ns: u64| json!({ "stats": { "wr_operations": writes, "wr_total_time_ns": ns } });
        let before = sum(&json!([device(10, 1_000), device(1, 500), { "stats": {} }]));
        assert_eq!(before, WriteLoad { writes: 11, busy: Duration::from_nanos(1_500) });
        let after = sum(&json!([device(13, 4_000), device(1, 500)]));
        assert_eq!(after.mean_since(&before), Some(Duration::from_nanos(1_000)));
        assert_eq!(after.mean_since(&after), None, "nothing was written");
        assert_eq!(before.mean_since(&after), None, "another QEMU has begun to count anew");
    }
}
