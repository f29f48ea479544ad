// Policies of all vaults: when machines are backed up, and how long points stay.
import { Button } from "@fluentui/react-components";
import { AddRegular } from "../icons";
import { useQueries, useQuery } from "@tanstack/react-query";
import { Link, useNavigate } from "react-router";
import { may } from "../access";
import { policies, useMe, vaults } from "../api/queries";
import { Empty } from "../parts/empty";
import { Loaded, Page } from "../parts/page";
import { keepWords, scheduleWords } from "./policy/document";

export default function Policies() {
  const me = useMe();
  const navigate = useNavigate();
  const places = useQuery(vaults);
  const all = useQueries({
    queries: (places.data ?? []).map((vault) => policies(vault.id)),
    combine: (asked) => asked.flatMap((one) => one.data ?? []),
  });
  const writable = (places.data ?? []).find((vault) => may(me, "WritePolicy", vault.id));
  const make = writable && (
    <Button appearance="primary" icon={<AddRegular />} onClick={() => void navigate(`/vaults/${writable.id}/policies/new`)}>
      Make a policy
    </Button>
  );
  return (
    <Page title="Policies" about="A policy says when machines are backed up and how long their points stay. A change applies to the points that are there as well." actions={make}>
      <Loaded query={places} what="policies">
        {(list) =>
          all.length === 0 ? (
            <Empty title="No policy yet" action={make || (list.length === 0 && <Link className="link" to="/vaults">See the vaults</Link>)}>
              {list.length === 0 ? "Policies belong to a vault: make one first." : "Make one here, or while machines are protected."}
            </Empty>
          ) : (
            <div className="table-scroll">
              <table className="table">
                <thead>
                  <tr>
                    <th>Name</th>
                    <th>Vault</th>
                    <th>Backs up</th>
                    <th>Keeps</th>
                  </tr>
                </thead>
                <tbody>
                  {all.map((policy) => (
                    <tr key={policy.id}>
                      <td>
                        <Link className="link strong" to={`/vaults/${policy.vault}/policies/${policy.id}`}>{policy.name}</Link>
                      </td>
                      <td>{list.find((vault) => vault.id === policy.vault)?.name}</td>
                      <td>{scheduleWords(policy.document)}</td>
                      <td>{keepWords(policy.document)}</td>
                    </tr>
                  ))}
                </tbody>
              </table>
            </div>
          )
        }
      </Loaded>
    </Page>
  );
}
