//! Images: noted once, listed by name and version, deleted, brought back, forgotten with their machines.

use crate::scene::{at, on_both, protected};
use catalog::{ErrorKind, ImageMachineRow, ImageRow};
use model::{PointId, VaultId};
use serde_json::json;
use uuid::Uuid;

fn image(vault: VaultId, name: &str, version: u32) -> ImageRow {
    ImageRow {
        id: PointId(Uuid::now_v7()),
        vault,
        name: name.to_owned(),
        version,
        excluded: version.is_multiple_of(2),
        taken: at(i64::from(version)),
        purge_at: None,
        document: json!({ "stored_bytes": 5 }),
        revision: 1,
    }
}

fn machine(image: PointId, name: &str) -> ImageMachineRow {
    ImageMachineRow {
        image,
        uuid: Uuid::new_v4(),
        name: name.to_owned(),
        made: at(7),
        document: json!({ "folder": "/srv/web" }),
    }
}

on_both! {
    images_are_noted_once_and_listed_by_name_and_version(catalog) {
        let (_, _, item) = protected(&catalog, "db").await?;
        let vault = item.vault;
        let mut rows: Vec<_> = (1..=12).map(|version| image(vault, "web", version)).collect();
        rows.extend([image(vault, "Db", 1), image(vault, "web-old", 3)]);
        for row in rows.iter().rev() {
            catalog.add_image(row).await?;
            catalog.add_image(row).await?;
        }
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let page = catalog.images(vault, "W*", after.as_ref(), 5).await?;
            seen.extend(page.rows);
            after = page.next;
            if after.is_none() {
                break;
            }
            after = Some(after.expect("there is more").to_string().parse()?);
        }
        let told: Vec<_> = seen.iter().map(|row| (row.name.as_str(), row.version)).collect();
        let expected: Vec<_> = (1..=12).map(|version| ("web", version)).chain([("web-old", 3)]).collect();
        assert_eq!(told, expected);
        assert_eq!(catalog.images(vault, "", None, 100).await?.rows.len(), 14);
        assert_eq!((catalog.images_in(vault).await?, catalog.image_versions(vault, "web").await?.len()), (14, 12));
        assert_eq!(catalog.image(rows[1].id).await?, rows[1]);
        assert!(catalog.points(item.id, None, 10).await?.rows.is_empty(), "none is the item's");
        Ok(())
    }

    an_image_is_deleted_brought_back_and_forgotten_with_its_machines(catalog) {
        let (_, _, item) = protected(&catalog, "db").await?;
        let (mut row, other) = (image(item.vault, "web", 1), image(item.vault, "web", 2));
        catalog.add_image(&row).await?;
        catalog.add_image(&other).await?;
        let machines: Vec<_> = (1..=7).map(|n| machine(row.id, &format!("web-{n}"))).collect();
        catalog.add_image_machines(&machines).await?;
        catalog.add_image_machines(&machines).await?;
        let first = catalog.image_machines(row.id, None, 4).await?;
        let second = catalog.image_machines(row.id, first.next.as_ref(), 4).await?;
        let seen: Vec<_> = first.rows.into_iter().chain(second.rows).collect();
        assert_eq!(seen, machines);
        assert_eq!(catalog.image_machine_counts(item.vault).await?, [(row.id, 7)]);

        row.revision = catalog.mark_image(&row, Some(at(100))).await?;
        let stale = ImageRow { revision: 1, ..row.clone() };
        assert_eq!(catalog.mark_image(&stale, None).await.unwrap_err().kind(), ErrorKind::Changed);
        assert!(catalog.images_to_purge(item.vault, at(99)).await?.is_empty());
        assert_eq!(catalog.images_to_purge(item.vault, at(100)).await?, [row.id]);
        catalog.mark_image(&row, None).await?;
        assert!(catalog.images_to_purge(item.vault, at(100)).await?.is_empty());
        catalog.remove_image(row.id).await?;
        assert_eq!(catalog.image(row.id).await.unwrap_err().kind(), ErrorKind::NotFound);
        assert!(catalog.image_machine_counts(item.vault).await?.is_empty());
        assert_eq!(catalog.images_in(item.vault).await?, 1);
        Ok(())
    }
}
