//! `strongroom thaw-watchdog`: the process that thaws a guest if the one that froze it does not.

use crate::args::WatchdogArgs;
use crate::machines;
use anyhow::Result;
use std::time::Duration;

pub(crate) async fn run(args: &WatchdogArgs) -> Result<()> {
    let limit = Duration::from_millis(args.limit_ms);
    let watched = hypervisor::stand_watch(limit, &args.record, || machines::open_now(&args.machine)).await;
    Ok(watched?)
}
