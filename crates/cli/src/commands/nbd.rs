//! `strongroom rescue nbd`.

use crate::args::NbdCommand;
use crate::output::Output;
use crate::{open, output};
use anyhow::Result;

pub(crate) async fn run(output: &Output, command: NbdCommand) -> Result<()> {
    let NbdCommand::Serve { point, vault, socket, disks } = command;
    let vault = open::vault(&vault).await?;
    let point = open::point(&vault, &point).await?;
    let chosen = open::disks(&point, &disks)?;
    let server = mover::serve(&vault, &chosen, &socket).await?;
    let uri = |name: &str| format!("nbd+unix:///{name}?socket={}", socket.display());
    let exports: Vec<_> = chosen
        .iter()
        .map(|disk| serde_json::json!({ "name": disk.name, "size": disk.map.size, "uri": uri(&disk.name) }))
        .collect();
    output::print(output, &serde_json::json!({ "point": point.id, "exports": exports }), || {
        let rows =
            chosen.iter().map(|disk| vec![disk.name.clone(), output::size(disk.map.size), uri(&disk.name)]);
        output::table(&["EXPORT", "SIZE", "URI"], &["SIZE"], rows)
    })?;
    eprintln!("Serving point {} read-only; interrupt to end.", point.id);
    let never = std::future::pending::<Result<()>>();
    let ended = super::unless_interrupted("serving", never).await;
    server.stop().await;
    // Being interrupted is how serving ends, not a failure.
    ended.or(Ok(()))
}
