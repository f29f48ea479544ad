// Vaults: where recovery points are kept.
import { Button } from "@fluentui/react-components";
import { AddRegular } from "../icons";
import { useQuery } from "@tanstack/react-query";
import { Link, useNavigate } from "react-router";
import { may } from "../access";
import { useMe, vaults } from "../api/queries";
import { Empty } from "../parts/empty";
import { Loaded, Page } from "../parts/page";
import { count, day } from "../words";

export default function Vaults() {
  const me = useMe();
  const navigate = useNavigate();
  const all = useQuery(vaults);
  const make = may(me, "CreateVault", null) && (
    <Button appearance="primary" icon={<AddRegular />} onClick={() => void navigate("/vaults/new")}>
      Make a vault
    </Button>
  );
  return (
    <Page title="Vaults" about="A vault keeps recovery points, encrypted, and is complete by itself: with its key, everything in it can be brought back without this server." actions={make}>
      <Loaded query={all} what="vaults">
        {(list) =>
          list.length === 0 ? (
            <Empty title="No vault yet" action={make}>
              A vault is a folder or a bucket. Its key is shown once when it is made: whoever has both can bring everything
              back, and nobody else can.
            </Empty>
          ) : (
            <ul className="cards">
              {list.map((vault) => (
                <li key={vault.id}>
                  <Link to={`/vaults/${vault.id}`} className="card">
                    <strong>{vault.name}</strong>
                    <span className="faint ellipsis">{vault.location}</span>
                    <span>{count(vault.items, "machine")}</span>
                    <span className="faint">
                      {[
                        vault.settings.snapshot_store ? "snapshot tier and vault" : "vault alone",
                        vault.settings.copy && "second store",
                        `deleted points stay ${count(vault.settings.soft_delete_days ?? 14, "day")}`,
                        vault.settings.immutable && "immutable",
                        vault.settings.keep_everything && "keeps everything",
                      ]
                        .filter(Boolean)
                        .join(" · ")}
                    </span>
                    <span className="faint">since {day(vault.created)}</span>
                  </Link>
                </li>
              ))}
            </ul>
          )
        }
      </Loaded>
    </Page>
  );
}
