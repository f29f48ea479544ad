//! `strongroom rescue salvage`.

use crate::args::SalvageArgs;
use crate::failure::Told;
use crate::output::Output;
use crate::watch::Watch;
use crate::{open, output};
use anyhow::{Context, Result};
use mover::{ImageFormat, RescuedDisk, RestoreRequest};
use std::path::Path;
use vault::{Found, FoundPoint, Standing};

pub(crate) async fn run(output: &Output, args: SalvageArgs) -> Result<()> {
    let rescue = open::rescue(&args.vault, &args.key).await?;
    let Found { mut points, damage } = rescue.points().await.context("look for points")?;
    for error in &damage {
        eprintln!("warning: {error}");
    }
    if let Some(end) = &args.point {
        points.retain(|found| found.point.id.to_string().ends_with(&end.to_lowercase()));
        if points.is_empty() {
            let hint = "`strongroom rescue salvage --list` shows the points whose objects open";
            return Err(Told::not_found(format!("no point {end} was found"), hint));
        }
    }
    let Some(to) = args.to.filter(|_| !args.list) else {
        let values: Vec<_> = points.iter().map(value).collect();
        return output::print(output, &values, || list(&points));
    };
    if !to.is_dir() {
        std::fs::create_dir(&to).with_context(|| format!("make the folder {}", to.display()))?;
    }
    let watch = Watch::new();
    let show = |progress| watch.show(progress);
    let mut rescued = Vec::new();
    for FoundPoint { point, .. } in points {
        let folder = to.join(point.id.to_string());
        eprintln!("Rescuing point {} of {} to {}", point.id, point.machine_name, folder.display());
        let id = point.id.to_string();
        let request = RestoreRequest { point, disks: Vec::new(), folder, format: ImageFormat::Raw };
        let work = async { Ok(mover::rescue(&rescue, &request, &show).await?) };
        let disks = super::unless_interrupted("the rescue", work).await?;
        rescued.extend(disks.into_iter().map(|disk| (id.clone(), disk)));
    }
    let values: Vec<_> = rescued.iter().map(|(point, disk)| disk_value(point, disk)).collect();
    output::print(output, &values, || table(&rescued))?;
    tell_gaps(&rescued, &to)
}

fn tell_gaps(rescued: &[(String, RescuedDisk)], to: &Path) -> Result<()> {
    let hurt = rescued.iter().filter(|(_, disk)| !disk.gaps.is_empty()).count();
    if hurt == 0 {
        return Ok(());
    }
    let what =
        format!("{hurt} of {} disks have gaps: what could be read nowhere is zero there", rescued.len());
    let hint = format!(
        "the *.missing files in {} list every gap; another point may have what is there",
        to.display()
    );
    Err(Told::gaps(what, hint))
}

fn missing_bytes(disk: &RescuedDisk) -> u64 {
    disk.gaps.iter().map(|gap| gap.length).sum()
}

fn said(standing: Standing) -> &'static str {
    match standing {
        Standing::Listed => "listed",
        Standing::Deleted => "deleted",
        Standing::Purged => "purged",
        Standing::NotInLog => "not in the log",
        Standing::LogUnreadable => "the log cannot be read",
    }
}

fn value(found: &FoundPoint) -> serde_json::Value {
    let mut value = super::point::value(&found.point);
    value["standing"] = said(found.standing).into();
    value
}

fn disk_value(point: &str, disk: &RescuedDisk) -> serde_json::Value {
    serde_json::json!({
        "point": point,
        "name": disk.image.name,
        "path": disk.image.path,
        "size": disk.image.size,
        "data_bytes": disk.image.data_bytes,
        "missing_bytes": missing_bytes(disk),
        "gaps": disk.gaps.len(),
        "missing": disk.missing,
    })
}

fn list(points: &[FoundPoint]) -> String {
    if points.is_empty() {
        return "No point's object was found that opens with this key.\n".into();
    }
    let rows = points.iter().map(|FoundPoint { point, standing }| {
        vec![
            point.id.to_string(),
            point.machine_name.clone(),
            output::instant(point.instant),
            point.disks.len().to_string(),
            output::size(point.disks.iter().map(|disk| disk.map.size).sum()),
            said(*standing).to_owned(),
        ]
    });
    output::table(&["POINT", "MACHINE", "INSTANT", "DISKS", "SIZE", "STANDING"], &["DISKS", "SIZE"], rows)
}

fn table(rescued: &[(String, RescuedDisk)]) -> String {
    let rows = rescued.iter().map(|(point, disk)| {
        vec![
            point.clone(),
            disk.image.name.clone(),
            output::size(disk.image.size),
            output::size(disk.image.data_bytes),
            output::size(missing_bytes(disk)),
            disk.image.path.display().to_string(),
        ]
    });
    output::table(&["POINT", "DISK", "SIZE", "DATA", "MISSING", "IMAGE"], &["SIZE", "DATA", "MISSING"], rows)
}
