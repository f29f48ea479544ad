//! `strongroom rescue vault copy`.

use crate::args::{CopyArgs, PointArgs};
use crate::failure::Told;
use crate::output::Output;
use crate::watch::Watch;
use crate::{open, output};
use anyhow::{Context, Result};
use mover::Progress;
use uuid::Uuid;
use vault::{Copied, CopyPlan, CopyRun, ErrorKind, Point, SessionId, Vault};

/// What became of one point, or would.
struct Row {
    point: Point,
    what: String,
    read: u64,
    stored: u64,
}

pub(crate) async fn run(output: &Output, args: CopyArgs) -> Result<()> {
    let from = open::vault(&args.vault).await?;
    let points = chosen(&from, &args).await?;
    let to = open::replica(&from, &args).await?;
    if !args.plan {
        open::attach(&to, &args.vault).await?;
    }
    let watch = Watch::new();
    let advance = |bytes| watch.show(Progress::Advance(bytes));
    let (mut rows, mut damage) = (Vec::new(), Vec::new());
    for point in points {
        if args.plan {
            let plan = vault::plan_copy(&from, &to, &point).await.context("plan the copy")?;
            rows.push(planned(point, plan));
            continue;
        }
        let size = point.disks.iter().map(|disk| disk.map.size).sum();
        watch.show(Progress::Disk { name: format!("copy of {}", point.id), size, tracking: String::new() });
        let run = CopyRun { session: SessionId(Uuid::now_v7()), now: super::now() };
        // Boxed: all that a session keeps under way would otherwise lie in the futures above.
        let work = async { Ok(Box::pin(vault::copy_point(&from, &to, &point, run, &advance)).await) };
        let copied = super::unless_interrupted("the copy", work).await?;
        watch.show(Progress::DiskDone);
        match copied {
            Ok(copied) => rows.push(done(point, copied)),
            // Other points may be whole.
            Err(error) if error.kind() == ErrorKind::Corrupt => damage.push((point, error)),
            Err(error) => return Err(error).with_context(|| format!("copy point {}", point.id)),
        }
    }
    if !args.plan {
        from.copy_notes(&to).await.context("copy what the service has noted")?;
    }
    let values: Vec<_> = rows.iter().map(value).collect();
    output::print(output, &values, || table(&rows))?;
    match damage.first() {
        None => Ok(()),
        Some((point, error)) => {
            let what = format!("{} points were not copied; point {}: {error}", damage.len(), point.id);
            Err(Told::corrupt(what, "`strongroom rescue vault verify` on the source names what is damaged"))
        }
    }
}

/// The points that are meant, oldest first: each is the base of the next.
async fn chosen(from: &Vault, args: &CopyArgs) -> Result<Vec<Point>> {
    if let Some(point) = &args.point {
        let wanted = PointArgs { point: point.clone(), machine: args.machine.clone() };
        return Ok(vec![open::point(from, &wanted).await?]);
    }
    let survey = from.survey(None).await.context("list the vault's points")?;
    open::warn(&survey);
    Ok(open::points_of(survey.points, args.machine.as_deref()))
}

fn planned(point: Point, plan: CopyPlan) -> Row {
    match plan {
        CopyPlan::Make(bytes) => Row { point, what: "to be copied".into(), read: bytes, stored: 0 },
        CopyPlan::Nothing(copied) => done(point, copied),
    }
}

fn done(point: Point, copied: Copied) -> Row {
    let (what, read, stored) = match copied {
        Copied::Made(made) if made.id == point.id => {
            ("copied".into(), made.stats.read_bytes, made.stats.stored_bytes)
        }
        Copied::Made(made) => {
            (format!("copied as {}", made.id), made.stats.read_bytes, made.stats.stored_bytes)
        }
        Copied::There(id) if id == point.id => ("was there".into(), 0, 0),
        Copied::There(id) => (format!("was there as {id}"), 0, 0),
        Copied::Deleted(_) => ("was deleted there".into(), 0, 0),
    };
    Row { point, what, read, stored }
}

fn value(row: &Row) -> serde_json::Value {
    serde_json::json!({
        "point": row.point.id, "machine": row.point.machine_name, "instant": row.point.instant,
        "what": row.what, "read_bytes": row.read, "stored_bytes": row.stored,
    })
}

fn table(rows: &[Row]) -> String {
    let rows = rows.iter().map(|row| {
        vec![
            row.point.id.to_string(),
            row.point.machine_name.clone(),
            output::instant(row.point.instant),
            output::size(row.read),
            output::size(row.stored),
            row.what.clone(),
        ]
    });
    output::table(&["POINT", "MACHINE", "INSTANT", "READ", "STORED", "WHAT"], &["READ", "STORED"], rows)
}
