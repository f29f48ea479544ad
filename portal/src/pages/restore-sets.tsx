// Restores of many machines, of all vaults, the newest first.
import { Button } from "@fluentui/react-components";
import { useQueries, useQuery } from "@tanstack/react-query";
import { Link, useNavigate } from "react-router";
import { may } from "../access";
import { restoreSets, useMe, vaults } from "../api/queries";
import { Empty } from "../parts/empty";
import { Page } from "../parts/page";
import { State } from "../parts/state";
import { When } from "../parts/when";
import { count, lasted, number, SET } from "../words";

export default function RestoreSets() {
  const me = useMe();
  const navigate = useNavigate();
  const places = useQuery(vaults);
  const asked = useQueries({
    queries: (places.data ?? []).map((vault) => restoreSets(vault.id)),
    combine: (all) => ({ sets: all.flatMap((one) => one.data ?? []), loading: all.some((one) => one.isPending) }),
  });
  const sets = asked.sets.sort((a, b) => b.created.localeCompare(a.created));
  const begin = may(me, "Restore", "any") && (
    <Button appearance="primary" onClick={() => void navigate("/restore-many")}>
      Restore many machines
    </Button>
  );
  return (
    <Page title="Restores of many" above={[["Jobs", "/jobs"]]} actions={begin}>
      {sets.length === 0 && !asked.loading ? (
        <Empty title="No restore of many yet" action={begin}>
          Machines that belong together come back together: in turns, as many at once as hosts and stores can bear, with one
          place to see how all of it goes.
        </Empty>
      ) : (
        <div className="table-scroll" tabIndex={0} role="region" aria-label="Restores of many machines">
          <table className="table">
            <thead>
              <tr>
                <th>Machines</th>
                <th>State</th>
                <th>Done</th>
                <th>Begun</th>
                <th className="wide end">Took</th>
              </tr>
            </thead>
            <tbody>
              {sets.map((set) => {
                const { waiting, under_way, done, failed, cancelled } = set.total;
                return (
                  <tr key={set.id}>
                    <td>
                      <Link className="link strong" to={`/vaults/${set.vault}/restore-sets/${set.id}`}>
                        {count(waiting + under_way + done + failed + cancelled, "machine")}
                      </Link>
                    </td>
                    <td><State of={SET[set.state]} /></td>
                    <td>{number(done)}{failed > 0 && <span className="bad-text">, {number(failed)} failed</span>}</td>
                    <td><When at={set.created} /></td>
                    <td className="wide end">{set.ended ? lasted(Date.parse(set.ended) - Date.parse(set.created)) : "-"}</td>
                  </tr>
                );
              })}
            </tbody>
          </table>
        </div>
      )}
    </Page>
  );
}
