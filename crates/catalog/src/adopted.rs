//! Machines of vaults that were taken in: their ids, until a host tells of them.

use crate::row::parsed;
use crate::{Catalog, Error, Result};
use model::MachineId;
use sqlx::any::AnyRow;

impl Catalog {
    /// Notes under which id a machine is meant that a host may come to tell of. The first note counts.
    pub async fn note_adopted(&self, known_as: &str, machine: MachineId) -> Result<()> {
        let insert =
            "insert into adopted (known_as, machine_id) values ($1, $2) on conflict (known_as) do nothing";
        let query = sqlx::query(insert).bind(known_as).bind(machine.to_string());
        let noted = query.execute(&self.pool).await;
        noted.map(drop).map_err(|e| Error::sql(format!("note the machine {known_as}"), e))
    }

    /// The id under which a machine that a host tells of for the first time is meant already, if it is.
    pub async fn adopted_machine(&self, known_as: &str) -> Result<Option<MachineId>> {
        let select = "select machine_id as id from adopted where known_as = $1
            and not exists (select 1 from machines where machines.id = adopted.machine_id)";
        self.one_machine(select, known_as).await
    }

    /// The machine that goes by this name or uuid on some host; none if several do.
    pub async fn machine_known_as(&self, known_as: &str) -> Result<Option<MachineId>> {
        self.one_machine("select id from machines where known_as = $1 limit 2", known_as).await
    }

    async fn one_machine(&self, select: &'static str, known_as: &str) -> Result<Option<MachineId>> {
        let query = sqlx::query(select).bind(known_as).try_map(|row: AnyRow| parsed(&row, "id"));
        let found = query.fetch_all(&self.pool).await;
        let found: Vec<MachineId> =
            found.map_err(|e| Error::sql(format!("find the machine {known_as}"), e))?;
        Ok(if let [one] = found[..] { Some(one) } else { None })
    }
}
