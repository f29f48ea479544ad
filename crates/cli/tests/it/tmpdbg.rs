//! dbg
use crate::guest::Guest; use crate::scene::Scene;
#[test] fn dbg() -> anyhow::Result<()> {
 let scene = Scene::new()?;
 let guest = Guest::boot(Guest::options(&scene, "dbg")?)?;
 println!("{:?}", guest.machine.sh("pidof qemu-ga; ps | grep qemu-ga; ls -l /proc/$(pidof qemu-ga)/fd"));
 println!("{:?}", guest.machine.agent().start("kill -9 $(pidof qemu-ga) 2>/dev/console"));
 println!("{:?}", guest.machine.wait_event("VSERPORT_CHANGE", std::time::Duration::from_secs(5)));
 println!("{}", guest.machine.qmp("query-chardev", serde_json::Value::Null)?);
 println!("{}", guest.machine.console());
 Ok(()) }
