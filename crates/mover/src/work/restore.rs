//! Restores disks of a point into a folder, once, however often the order is begun.
//!
//! Images are written into `FOLDER/.strongroom-JOB-CLAIM`. When all are whole, `moving.json` is put there, and they
//! are moved to where they belong, that file last and as `machine.json`: it names the job. An attempt that finds what
//! an earlier one left goes on with the moving, or throws it away. Nothing else in the folder is touched.

use super::backup::makes_no_sense;
use super::failure::Result;
use super::nearest::find_nearest;
use super::order::Run;
use super::{at_once, machine};
use crate::restore::{chosen, publish, targets};
use crate::{ImageFormat, RestoreRequest, Restored};
use api::RestoreFormat;
use model::PointId;
use model::job::Step;
use serde_json::{Value, json};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// Says that everything beside it is whole and is being moved; holds what `machine.json` will.
const MOVING: &str = "moving.json";
/// What comes last.
const DESCRIPTION: &str = "machine.json";

/// What is wanted.
pub(super) struct Wanted<'a> {
    pub(super) item: Uuid,
    pub(super) point: PointId,
    pub(super) folder: &'a Path,
    pub(super) disks: &'a [String],
    pub(super) format: RestoreFormat,
    pub(super) machine: Option<&'a api::NewMachine>,
}

/// Restores disks, or finds that an earlier claim has.
pub(super) async fn restore(run: &Run, wanted: Wanted<'_>) -> Result<()> {
    let folder = wanted.folder;
    if !folder.is_absolute() {
        return Err(makes_no_sense(format!("{} is no absolute path", folder.display())));
    }
    let job = run.order.job.to_string();
    if let Some(machine) = wanted.machine.filter(|machine| machine.at_once) {
        return at_once::restore(run, &wanted, machine).await;
    }
    if !is_done(folder, &job) {
        match left_by_earlier(folder, &job)? {
            Some(stage) => finish(&stage, folder)?,
            None => write(run, &wanted).await?,
        }
    }
    let mut result = json!({ "files": files(folder) });
    if run.order.steps_done == 0 {
        run.lease.step_done(Step::WriteDisks, Some(result.clone()));
    }
    // Without one its description lies beside the disks, and nobody is asked to start it.
    if let Some(machine) = wanted.machine {
        result["machine"] = machine::define(run, &wanted, machine).await?;
    }
    run.lease.step_done(Step::DefineMachine, Some(result));
    Ok(())
}

/// Writes everything anew.
async fn write(run: &Run, wanted: &Wanted<'_>) -> Result<()> {
    let (store, point) = find_nearest(run, wanted.item, wanted.point).await?;
    let format = image_format(wanted.format);
    if let Some(machine) = wanted.machine {
        machine::refuse(run, wanted, machine, &point)?;
    }
    let (disks, folder) = (wanted.disks.to_vec(), wanted.folder.to_owned());
    let mut request = RestoreRequest { point, disks, folder, format };
    let meant = chosen(&request)?;
    run.lease.begin(&Step::WriteDisks.to_string(), meant.iter().map(|disk| disk.map.size).sum());
    // What is in the way is found before hours of writing, and again when they are over.
    targets(&request, &meant)?;
    let stage =
        wanted.folder.join(format!("{}{}", prefix(&run.order.job.to_string()), run.order.generation.0));
    fs::create_dir(&stage).map_err(|e| io("make", &stage, e))?;
    request.folder.clone_from(&stage);
    let tell = |progress| run.lease.progress(progress);
    let restored = Box::pin(crate::restore(&store, &request, &tell)).await?;
    note(run, wanted.folder, &stage, &restored)?;
    finish(&stage, wanted.folder)
}

/// Notes that everything is whole: the description, with the paths that the images will have, and the job.
fn note(run: &Run, folder: &Path, stage: &Path, restored: &Restored) -> Result<()> {
    let text = fs::read(&restored.description).map_err(|e| io("read", &restored.description, e))?;
    let mut value: Value = serde_json::from_slice(&text).map_err(|e| makes_no_sense(e.to_string()))?;
    for disk in value["disks"].as_array_mut().into_iter().flatten() {
        let name = disk["path"].as_str().and_then(|path| Path::new(path).file_name());
        disk["path"] = json!(name.map(|name| folder.join(name)));
    }
    value["job"] = json!(run.order.job);
    fs::remove_file(&restored.description).map_err(|e| io("remove", &restored.description, e))?;
    let (partial, path) = (stage.join(format!("{MOVING}.partial")), stage.join(MOVING));
    let written = fs::File::create_new(&partial).and_then(|mut file| {
        file.write_all(format!("{value:#}\n").as_bytes())?;
        file.sync_all()
    });
    written.map_err(|e| io("write", &partial, e))?;
    Ok(publish(&partial, &path)?)
}

/// Moves what is whole to where it belongs. CRASH: some of it is moved; the rest is, by the next attempt.
fn finish(stage: &Path, folder: &Path) -> Result<()> {
    for path in entries(stage) {
        let name = path.file_name().expect("an entry has a name");
        if name != MOVING {
            publish(&path, &folder.join(name))?;
        }
    }
    publish(&stage.join(MOVING), &folder.join(DESCRIPTION))?;
    Ok(fs::remove_dir(stage).map_err(|e| io("remove", stage, e))?)
}

/// What an earlier claim of this job left that is whole; what is not is thrown away.
fn left_by_earlier(folder: &Path, job: &str) -> Result<Option<PathBuf>> {
    let is_ours = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.starts_with(&prefix(job)))
    };
    let mut whole = None;
    for stage in entries(folder).into_iter().filter(is_ours) {
        if stage.join(MOVING).exists() {
            whole = Some(stage);
        } else {
            fs::remove_dir_all(&stage).map_err(|e| io("remove", &stage, e))?;
        }
    }
    Ok(whole)
}

pub(super) fn image_format(format: RestoreFormat) -> ImageFormat {
    match format {
        RestoreFormat::Raw => ImageFormat::Raw,
        RestoreFormat::Qcow2 => ImageFormat::Qcow2,
    }
}

fn is_done(folder: &Path, job: &str) -> bool {
    description(folder)["job"] == job
}

/// The files that were restored.
fn files(folder: &Path) -> Vec<PathBuf> {
    let value = description(folder);
    let disks = value["disks"].as_array().into_iter().flatten().filter_map(|disk| disk["path"].as_str());
    disks.map(PathBuf::from).chain([folder.join(DESCRIPTION)]).collect()
}

/// Null if there is none that is ours.
fn description(folder: &Path) -> Value {
    let text = fs::read(folder.join(DESCRIPTION)).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}

fn prefix(job: &str) -> String {
    format!(".strongroom-{job}-")
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

fn io(verb: &str, path: &Path, error: std::io::Error) -> block::Error {
    block::Error::io(format!("{verb} {}", path.display()), error)
}
