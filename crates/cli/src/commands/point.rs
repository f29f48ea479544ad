//! `strongroom rescue point`.

use crate::args::PointCommand;
use crate::failure::Told;
use crate::output::Output;
use crate::{open, output};
use anyhow::{Context, Result};
use vault::{Point, Survey};

pub(crate) async fn run(output: &Output, command: PointCommand) -> Result<()> {
    match command {
        PointCommand::List { vault, machine, deleted } => {
            let vault = open::vault(&vault).await?;
            let survey = if deleted {
                vault.deleted_points().await.map(|points| Survey { points, ..Survey::default() })
            } else {
                vault.survey(None).await
            };
            let Survey { points, damage } = survey.context("list the vault's points")?;
            let mut points = open::points_of(points, machine.as_deref());
            // `snapshot list` has those.
            points.retain(|point| !mover::is_snapshot(point));
            let values: Vec<_> = points.iter().map(value).collect();
            output::print(output, &values, || list(&points, machine.as_deref(), deleted))?;
            let what = format!("{} points cannot be read", damage.len());
            let hint =
                "`strongroom rescue vault verify` names what is damaged; the points listed above are not";
            damage
                .into_iter()
                .next()
                .map_or(Ok(()), |error| Err(Told::corrupt(format!("{what}: {error}"), hint)))
        }
        PointCommand::Delete { point, vault } => {
            let vault = open::vault(&vault).await?;
            let point = open::point(&vault, &point).await?;
            vault.delete_point(point.id, super::now()).await.context("delete the point")?;
            eprintln!(
                "Deleted. `strongroom rescue point undelete {}` brings it back until it is purged.",
                point.id
            );
            output::print(output, &value(&point), || format!("{}\n", point.id))
        }
        PointCommand::Undelete { point, vault } => {
            let vault = open::vault(&vault).await?;
            let point = open::deleted_point(&vault, &point).await?;
            vault.undelete_point(point.id, super::now()).await.context("bring the point back")?;
            output::print(output, &value(&point), || format!("{}\n", point.id))
        }
        PointCommand::Show { point, vault } => {
            let vault = open::vault(&vault).await?;
            let point = open::point(&vault, &point).await?;
            output::print(output, &value(&point), || show(&point))
        }
    }
}

/// A point as programs see it: without where its maps lie.
pub(crate) fn value(point: &Point) -> serde_json::Value {
    let disks = point.disks.iter().map(|disk| {
        serde_json::json!({
            "name": disk.name, "size": disk.map.size, "tracking": disk.tracking, "read_bytes": disk.read_bytes,
            "firmware": mover::is_firmware(point, &disk.name),
        })
    });
    serde_json::json!({
        "id": point.id,
        "machine": { "id": point.machine, "name": point.machine_name },
        "instant": point.instant,
        "parent": point.parent,
        "consistency": point.consistency,
        "disks": disks.collect::<Vec<_>>(),
        "stats": point.stats,
        "description": point.description,
    })
}

fn level(point: &Point) -> &str {
    point.consistency["level"].as_str().unwrap_or("unknown")
}

fn list(points: &[Point], machine: Option<&str>, deleted: bool) -> String {
    if let (true, Some(machine)) = (points.is_empty(), machine) {
        return format!(
            "No points of a machine {machine}. `strongroom rescue vault show` tells which machines have some.\n"
        );
    }
    if points.is_empty() && deleted {
        return "No deleted points that could be had back.\n".into();
    }
    if points.is_empty() {
        return "No recovery points yet. `strongroom rescue backup MACHINE` makes one.\n".into();
    }
    let rows = points.iter().map(|point| {
        vec![
            point.id.to_string(),
            point.machine_name.clone(),
            output::instant(point.instant),
            level(point).to_owned(),
            point.disks.len().to_string(),
            output::size(point.disks.iter().map(|disk| disk.map.size).sum()),
            output::size(point.stats.read_bytes),
            output::size(point.stats.stored_bytes),
        ]
    });
    output::table(
        &["POINT", "MACHINE", "INSTANT", "CONSISTENCY", "DISKS", "SIZE", "READ", "STORED"],
        &["DISKS", "SIZE", "READ", "STORED"],
        rows,
    )
}

fn show(point: &Point) -> String {
    let parent = point.parent.map_or_else(|| "none".into(), |parent| parent.to_string());
    let facts = output::facts(&[
        ("Point", point.id.to_string()),
        ("Machine", format!("{} ({})", point.machine_name, point.machine)),
        ("Instant", output::instant(point.instant)),
        ("Consistency", level(point).to_owned()),
        ("Parent", parent),
        ("Read", output::size(point.stats.read_bytes)),
        ("New", format!("{} before compression", output::size(point.stats.new_bytes))),
        ("Stored", output::size(point.stats.stored_bytes)),
    ]);
    let rows = point.disks.iter().map(|disk| {
        vec![
            disk.name.clone(),
            if mover::is_firmware(point, &disk.name) { "firmware" } else { "disk" }.to_owned(),
            output::size(disk.map.size),
            output::size(disk.read_bytes),
            disk.tracking.clone(),
        ]
    });
    let disks = output::table(&["DISK", "IS", "SIZE", "READ", "HOW"], &["SIZE", "READ"], rows);
    let evidence = serde_json::to_string_pretty(&point.consistency).unwrap_or_default();
    format!("{facts}\n{disks}\nConsistency, as proved:\n{evidence}\n")
}
