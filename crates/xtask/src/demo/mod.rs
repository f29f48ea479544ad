//! `cargo xtask demo`: the product shown on a real machine, in plain words, with how long each step took.
//!
//! Everything that is shown is done by the released program as a user would run it; the harness only
//! starts machines, talks to their database, and destroys them.

mod shop;
mod stage;

use anyhow::{Context, Result, ensure};
use shop::Shop;
use stage::Stage;
use std::time::Instant;
use testkit::{Accel, GuestImage};

/// Rows before the first backup, and written between the two.
const ROWS_FIRST: u64 = 20_000;
const ROWS_MORE: u64 = 5_000;

pub(crate) fn run() -> Result<()> {
    let preparing = Instant::now();
    println!("Preparing: system packages, the program, and a small real guest.");
    testkit::ensure_packages(&testkit::to_stderr)?;
    crate::run::cargo(["build", "--release", "--package", "cli"])?;
    let image = GuestImage::build(&testkit::default_cache(), &testkit::to_stderr)?;
    let accel = Accel::probe(&image, &testkit::to_stderr)?;
    println!("A trial boot says that machines run with {} here.", accel.name());
    println!("Prepared in {:.0} s.\n", preparing.elapsed().as_secs_f64());

    let started = Instant::now();
    let mut stage = Stage::new()?;
    let first = first_life(&mut stage, &image)?;
    second_life(&mut stage, &image, &first)?;
    stage.summary(started.elapsed());
    Ok(())
}

/// What the first machine leaves behind to be compared with.
struct FirstLife {
    rows: u64,
    sum: String,
}

/// A machine works, is backed up twice, and is destroyed.
fn first_life(stage: &mut Stage, image: &GuestImage) -> Result<FirstLife> {
    let mut shop = None;
    stage.step("A Linux machine with a PostgreSQL database starts under QEMU", |stage| {
        let started = Shop::start_new(stage, image)?;
        stage.say("The guest agent and the database answer.");
        started.create_table()?;
        started.insert(ROWS_FIRST)?;
        stage.say(&format!("{ROWS_FIRST} rows are in the table 'orders'; a second disk holds files on XFS."));
        shop = Some(started);
        Ok(())
    })?;
    let shop = shop.context("the machine runs")?;
    stage.step("A vault is created in a local directory", |stage| {
        stage.strongroom(&["rescue", "vault", "create", "VAULT"])?;
        Ok(())
    })?;
    shop.keep_writing()?;
    stage.step("The running machine is backed up, both disks at one instant", |stage| {
        let point = stage.strongroom(&["rescue", "backup", "shop"])?;
        ensure!(
            point["consistency"]["level"] == "application",
            "the point is not application-consistent: {point}"
        );
        Ok(())
    })?;
    shop.stop_writing()?;
    stage.step("More rows are written", |stage| {
        shop.insert(ROWS_MORE)?;
        stage.say(&format!("{ROWS_MORE} rows more."));
        Ok(())
    })?;
    let (rows, sum) = (shop.rows()?, shop.sum()?);
    stage.step("An incremental backup reads only what changed", |stage| {
        let point = stage.strongroom(&["rescue", "backup", "shop"])?;
        let (read, size) = (stage::number(&point["stats"]["read_bytes"])?, stage::sizes(&point)?);
        ensure!(read * 4 < size, "the second backup read {read} of {size} bytes");
        stage.say(&format!("It read {:.1} MiB of {} MiB.", read as f64 / 1_048_576.0, size >> 20));
        Ok(())
    })?;
    stage.step("The machine is destroyed: process killed, disks deleted", |stage| {
        shop.destroy()?;
        stage.say("Only the vault and its key are left.");
        Ok(())
    })?;
    Ok(FirstLife { rows, sum })
}

/// The machine comes back from the vault.
fn second_life(stage: &mut Stage, image: &GuestImage, first: &FirstLife) -> Result<()> {
    stage.step("The machine's disks are restored from the last point", |stage| {
        stage.show(&["rescue", "point", "list"])?;
        stage.strongroom(&["rescue", "restore", "disks", "latest", "--to", "RESTORED"])?;
        Ok(())
    })?;
    stage.step("The restored machine boots, and its data is there", |stage| {
        let shop = Shop::start_restored(stage, image)?;
        let (rows, sum) = (shop.rows()?, shop.sum()?);
        stage.say(&format!("{rows} rows are in the table, {} were there before.", first.rows));
        ensure!((rows, &sum) == (first.rows, &first.sum), "the restored rows differ from those before");
        stage.say("Their checksum is the same as before.");
        shop.check_database()?;
        stage.say("pg_amcheck finds every table and index sound.");
        shop.power_off()
    })
}
