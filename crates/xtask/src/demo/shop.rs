//! The machine of the demo: a small shop's database.

use super::stage::{Stage, machine_folder, restored_image};
use anyhow::{Context, Result, ensure};
use std::time::Duration;
use testkit::{Format, GuestDisk, GuestImage, GuestMachine, MachineOptions};

/// Generous: two cores may emulate the guest's processor.
const START_LIMIT: Duration = Duration::from_secs(180);

pub(crate) struct Shop {
    machine: GuestMachine,
}

impl Shop {
    /// A new machine on fresh disks.
    pub(crate) fn start_new(stage: &Stage, image: &GuestImage) -> Result<Self> {
        let folder = machine_folder(stage, "shop")?;
        let disks = image.fresh_disks(&folder, Format::Qcow2)?;
        Self::start(image, MachineOptions::new("shop", &folder, disks))
    }

    /// The machine on its restored disks.
    pub(crate) fn start_restored(stage: &Stage, image: &GuestImage) -> Result<Self> {
        let folder = machine_folder(stage, "shop-again")?;
        let restored = stage.folder("restored");
        let disk =
            |node: &str, id: &str| GuestDisk::file(node, &restored_image(&restored, id), Format::Qcow2);
        let disks = vec![disk("disk0", "d-disk0"), disk("disk1", "d-disk1")];
        Self::start(image, MachineOptions::new("shop", &folder, disks))
    }

    fn start(image: &GuestImage, options: MachineOptions) -> Result<Self> {
        let machine = GuestMachine::start(image, options)?;
        machine.wait_agent(START_LIMIT)?;
        machine.wait_postgres(START_LIMIT)?;
        Ok(Self { machine })
    }

    pub(crate) fn create_table(&self) -> Result<()> {
        self.machine.psql(
            "create table orders (id bigserial primary key, what text, at timestamptz default now())",
        )?;
        let (code, said) =
            self.machine.sh("mkdir -p /data1/pictures && guest-probe fill /data1/pictures/one 8388608 7")?;
        ensure!(code == 0, "write files in the guest: {said}");
        Ok(())
    }

    pub(crate) fn insert(&self, rows: u64) -> Result<()> {
        let insert = "insert into orders (what) select md5(n::text) from generate_series(1, ROWS) n";
        self.machine.psql(&insert.replace("ROWS", &rows.to_string()))?;
        Ok(())
    }

    /// Lets the guest write on, row by row, while something else happens.
    pub(crate) fn keep_writing(&self) -> Result<()> {
        let each = "insert into orders (what) values (md5(random()::text))";
        let work = format!("while [ ! -e /tmp/stop ]; do psql -U postgres -qAtc \"{each}\"; done");
        self.machine.agent().start(&work)?;
        Ok(())
    }

    pub(crate) fn stop_writing(&self) -> Result<()> {
        let (code, said) =
            self.machine.sh("touch /tmp/stop; while pidof psql >/dev/null; do sleep 0.1; done")?;
        ensure!(code == 0, "stop writing in the guest: {said}");
        Ok(())
    }

    pub(crate) fn rows(&self) -> Result<u64> {
        self.machine.psql("select count(*) from orders")?.trim().parse().context("a number of rows")
    }

    /// A checksum over all rows.
    pub(crate) fn sum(&self) -> Result<String> {
        self.machine.psql("select md5(string_agg(id || what || at, ',' order by id)) from orders")
    }

    pub(crate) fn check_database(&self) -> Result<()> {
        self.machine.psql("create extension if not exists amcheck")?;
        let (code, said) = self.machine.sh("pg_amcheck -U postgres --heapallindexed postgres")?;
        ensure!(code == 0, "pg_amcheck found damage: {said}");
        Ok(())
    }

    /// Kills the process and deletes the disks.
    pub(crate) fn destroy(self) -> Result<()> {
        let folder = self.machine.options().folder.clone();
        self.machine.kill()?;
        std::fs::remove_dir_all(&folder).with_context(|| format!("delete {}", folder.display()))
    }

    pub(crate) fn power_off(self) -> Result<()> {
        self.machine.power_off()
    }
}
