//! Devices as QEMU has them now, which its command line does not all tell.

use super::discover::Options;
use crate::qmp::Qmp;
use crate::{DeviceDescription, ErrorKind, NicDescription, Result};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Where QEMU keeps devices: with an id, without one, and those it made by itself.
const PLACES: [&str; 3] = ["/machine/peripheral", "/machine/peripheral-anon", "/machine/unattached"];

/// The devices of a machine.
pub(super) struct Devices(Vec<Device>);

struct Device {
    path: String,
    name: String,
    driver: String,
}

impl Device {
    fn has_id(&self) -> bool {
        self.path.strip_prefix(PLACES[0]).is_some_and(|rest| rest.starts_with('/'))
    }
}

impl Devices {
    pub(super) async fn read(qmp: &Qmp) -> Result<Self> {
        let mut devices = Vec::new();
        for place in PLACES {
            let children = qmp.execute("qom-list", json!({ "path": place })).await?;
            let device = |child: &Value| {
                let name = child["name"].as_str()?.to_owned();
                let driver = child["type"].as_str()?.strip_prefix("child<")?.strip_suffix('>')?.to_owned();
                Some(Device { path: format!("{place}/{name}"), name, driver })
            };
            devices.extend(children.as_array().into_iter().flatten().filter_map(device));
        }
        Ok(Self(devices))
    }

    /// Network cards: whatever has a MAC address, as the guest first sees it. The command line does not tell the
    /// addresses that QEMU chose itself.
    pub(super) async fn nics(&self, qmp: &Qmp) -> Result<Vec<NicDescription>> {
        // Asked once for each driver: a machine has hundreds of devices and some dozens of drivers.
        let mut have_mac: BTreeMap<&str, bool> = BTreeMap::new();
        let mut nics = Vec::new();
        for device in &self.0 {
            if have_mac.get(device.driver.as_str()) == Some(&false) {
                continue;
            }
            let mac = property(qmp, &device.path, "mac").await?;
            have_mac.insert(&device.driver, mac.is_some());
            if let Some(mac) = mac {
                let netdev = property(qmp, &device.path, "netdev").await?.filter(|name| !name.is_empty());
                let id = if device.has_id() { &device.name } else { &device.path };
                nics.push(NicDescription { id: id.clone(), driver: device.driver.clone(), mac, netdev });
            }
        }
        Ok(nics)
    }

    /// Devices that were plugged in since the start: those with an id that the command line does not name. One
    /// without an id is not told from what QEMU makes by itself.
    pub(super) fn plugged_later(&self, argv: &[String]) -> Vec<DeviceDescription> {
        if argv.is_empty() {
            return Vec::new();
        }
        let named = argv.windows(2).filter(|pair| matches!(pair[0].as_str(), "-device" | "--device"));
        let named: BTreeSet<String> =
            named.filter_map(|pair| Options::parse(&pair[1], "driver").get("id")).collect();
        let later = self.0.iter().filter(|device| device.has_id() && !named.contains(&device.name));
        let described =
            |device: &Device| DeviceDescription { id: device.name.clone(), driver: device.driver.clone() };
        later.map(described).collect()
    }
}

/// A property that is a text; `None` where the object lacks it.
pub(super) async fn property(qmp: &Qmp, path: &str, name: &str) -> Result<Option<String>> {
    match qmp.execute("qom-get", json!({ "path": path, "property": name })).await {
        Ok(value) => Ok(value.as_str().map(str::to_owned)),
        Err(error) if error.kind() == ErrorKind::Unreachable => Err(error),
        Err(_) => Ok(None),
    }
}
