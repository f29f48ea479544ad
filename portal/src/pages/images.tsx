// Images: generalised machines, from which others are made.
import { Button } from "@fluentui/react-components";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { may } from "../access";
import { client, once, pages, take } from "../api/client";
import { useMe, vaults } from "../api/queries";
import type { Image, Vault } from "../api/types";
import { AddRegular, ArrowUndoRegular, DeleteRegular, DesktopRegular } from "../icons";
import { Confirm } from "../parts/confirm";
import { useAct } from "../parts/done";
import { Empty } from "../parts/empty";
import { Loaded, Page, Section } from "../parts/page";
import { When } from "../parts/when";
import { count, size } from "../words";
import { CreateMachines } from "./images/create-machines";
import { NewImage } from "./images/new-image";

/** As the API allows. */
const PAGE = 1000;

/** A version in words: `web:3`. */
export const called = (image: Image) => `${image.name}:${image.version}`;

const place = (image: Image) => ({ path: { vault: image.vault, image: image.id }, header: once() });

export default function Images() {
  const all = useQuery(vaults);
  const me = useMe();
  const [making, setMaking] = useState(false);
  const make = may(me, "CaptureImage", "any") && (
    <Button appearance="primary" icon={<AddRegular />} onClick={() => setMaking(true)}>
      Make an image
    </Button>
  );
  return (
    <Page
      title="Images"
      about="An image is a machine's disks that are nobody's. Machines made of it are there in seconds, each with a name, a uuid, addresses and host keys of its own."
      actions={make}
    >
      <Loaded query={all} what="vaults">
        {(list) => (
          <>
            {list.map((vault) => (
              <InVault key={vault.id} vault={vault} />
            ))}
            {making && <NewImage vaults={list} close={() => setMaking(false)} />}
          </>
        )}
      </Loaded>
    </Page>
  );
}

function InVault({ vault }: { vault: Vault }) {
  const me = useMe();
  const images = useQuery({
    queryKey: ["images", vault.id],
    // They come and go with the ends of jobs.
    refetchInterval: 10_000,
    queryFn: async () =>
      (
        await pages(
          (after) =>
            take(
              client.GET("/v1/vaults/{vault}/images", {
                params: { path: { vault: vault.id }, query: { after, limit: PAGE } },
              }),
            ),
          10 * PAGE,
        )
      ).items,
  });
  const [going, setGoing] = useState<Image | null>(null);
  const [used, setUsed] = useState<Image | null>(null);
  const remove = useAct({
    does: (image: Image) => take(client.DELETE("/v1/vaults/{vault}/images/{image}", { params: place(image) })),
    told: (accepted, image) => ({ title: `${called(image)} is being deleted`, to: `/jobs/${accepted.job}` }),
    changes: ["images"],
    quiet: true,
    then: () => setGoing(null),
  });
  const undelete = useAct({
    does: (image: Image) =>
      take(client.POST("/v1/vaults/{vault}/images/{image}/undelete", { params: place(image) })),
    told: (accepted, image) => ({ title: `${called(image)} comes back`, to: `/jobs/${accepted.job}` }),
    changes: ["images"],
  });
  return (
    <Section title={vault.name}>
      <Loaded query={images} what="images">
        {(list) =>
          list.length === 0 ? (
            <Empty title="No image in this vault">
              Set a machine up once, and make it an image here or with <code>strongroom image create</code>.
            </Empty>
          ) : (
            <div className="table-scroll">
              <table className="table">
                <thead>
                  <tr>
                    <th>Image</th>
                    <th>Made of</th>
                    <th>When</th>
                    <th>Nobody's</th>
                    <th className="end">Size</th>
                    <th className="end">Machines made</th>
                    <th aria-label="Acts" />
                  </tr>
                </thead>
                <tbody>
                  {list.map((image) => (
                    <tr key={image.id}>
                      <td className="strong">
                        {called(image)} {image.latest && <span className="faint">latest</span>}
                        {image.excluded && <span className="faint">left out</span>}
                      </td>
                      <td>{image.from}</td>
                      <td>
                        {image.purge_at ? (
                          <>
                            deleted, back until <When at={image.purge_at} />
                          </>
                        ) : (
                          <When at={image.taken} />
                        )}
                      </td>
                      <td>{nobodys(image)}</td>
                      <td className="end">{size(image.provisioned_bytes)}</td>
                      <td className="end">{image.machines}</td>
                      <td className="end">
                        {!image.purge_at && may(me, "CreateMachines", vault.id) && (
                          <Button appearance="subtle" icon={<DesktopRegular />} onClick={() => setUsed(image)}>
                            Create machines
                          </Button>
                        )}
                        {!image.purge_at && may(me, "DeleteData", vault.id) && (
                          <Button
                            appearance="subtle"
                            icon={<DeleteRegular />}
                            aria-label={`Delete ${called(image)}`}
                            onClick={() => setGoing(image)}
                          />
                        )}
                        {image.purge_at && may(me, "Undelete", vault.id) && (
                          <Button
                            appearance="subtle"
                            icon={<ArrowUndoRegular />}
                            disabled={undelete.isPending}
                            onClick={() => undelete.mutate(image)}
                          >
                            Bring back
                          </Button>
                        )}
                      </td>
                    </tr>
                  ))}
                </tbody>
              </table>
            </div>
          )
        }
      </Loaded>
      {used && <CreateMachines image={used} close={() => setUsed(null)} />}
      <Confirm
        open={going !== null}
        close={() => {
          remove.reset();
          setGoing(null);
        }}
        title={going ? `Delete ${called(going)}?` : ""}
        action="Delete it"
        danger
        typed={going ? called(going) : undefined}
        busy={remove.isPending}
        error={remove.error}
        act={() => going && remove.mutate(going)}
      >
        <p>
          It can be brought back for {count(vault.settings.soft_delete_days ?? 0, "day")}. {going ? count(going.machines, "machine") : ""} made
          of it do not need it. It is refused while machines are being made of it.
        </p>
      </Confirm>
    </Section>
  );
}

function nobodys(image: Image): string {
  if (image.generalised) return "yes";
  return image.findings.length > 0 ? `no: ${count(image.findings.length, "finding")}` : "unknown";
}
