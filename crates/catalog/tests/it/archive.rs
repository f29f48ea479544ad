//! Points in archives: found by what is written of them.

use crate::scene::{at, on_both, point, protected};
use catalog::CopyRow;
use jiff::Timestamp;
use model::{ArchiveCopy, Near};

fn there(near: Near) -> ArchiveCopy {
    ArchiveCopy::There { since: at(10), stored_bytes: 100, near }
}

on_both! {
    points_are_found_by_where_they_are(catalog) {
        let (vault, _, item) = protected(&catalog, "db").await?;
        let (other, _, _) = protected(&catalog, "web").await?;
        let states = [
            ArchiveCopy::Never,
            ArchiveCopy::Expected,
            there(Near::Held { until: at(50) }),
            there(Near::Dropped { purge_at: at(60) }),
            there(Near::Dropped { purge_at: at(70) }),
            there(Near::Gone {}),
        ];
        let mut rows = Vec::new();
        for (second, archive) in (1..).zip(states) {
            let mut row = point(&item, at(second));
            row.point.archive = archive;
            catalog.put_point(&row).await?;
            rows.push(row);
        }
        let id = |place: usize| rows[place].point.id;
        assert_eq!(catalog.archived(vault.id).await?, (4, 400));
        assert!(catalog.is_archive_used(vault.id).await? && !catalog.is_archive_used(other.id).await?);
        assert_eq!(catalog.items_with_held_points(vault.id).await?, [item.id]);
        assert!(catalog.items_with_held_points(other.id).await?.is_empty());
        assert!(catalog.dropped_to_purge(vault.id, at(59)).await?.is_empty());
        assert_eq!(catalog.dropped_to_purge(vault.id, at(60)).await?, [(item.id, id(3))]);
        assert_eq!(catalog.dropped_to_purge(vault.id, at(70)).await?.len(), 2);
        // Deleted ones, wherever the archive may have them.
        assert!(catalog.archived_to_purge(vault.id, at(1000)).await?.is_empty());
        for place in [0, 1, 5] {
            rows[place].point.purge_at = Some(at(80));
            catalog.put_point(&rows[place]).await?;
        }
        assert!(catalog.archived_to_purge(vault.id, at(79)).await?.is_empty());
        let mut due = catalog.archived_to_purge(vault.id, at(80)).await?;
        due.sort();
        let mut wanted = [rows[1].point.id, rows[5].point.id];
        wanted.sort();
        assert_eq!(due, wanted);
        Ok(())
    }

    what_is_in_the_archive_alone_is_neither_copied_nor_left(catalog) {
        let (vault, _, item) = protected(&catalog, "db").await?;
        let mut near = point(&item, at(1));
        let mut far = point(&item, at(2));
        far.point.archive = there(Near::Gone {});
        let mut held = point(&item, at(3));
        held.point.archive = there(Near::Held { until: at(50) });
        for row in [&near, &far, &held] {
            catalog.put_point(row).await?;
        }
        let wanted = |rows: Vec<(uuid::Uuid, model::PointId)>| rows.into_iter().map(|(_, id)| id).collect::<Vec<_>>();
        assert_eq!(wanted(catalog.points_to_copy(vault.id, 9).await?), [near.point.id, held.point.id]);
        assert_eq!(catalog.copy_figures(vault.id).await?.waiting, 2);
        let copies: Vec<CopyRow> = [&near, &far, &held].map(|row| CopyRow {
            vault: vault.id,
            point: row.point.id,
            item: item.id,
            taken: row.point.taken,
            copied: at(20),
            left: None,
            stored_bytes: 1,
            detail: serde_json::json!({}),
        }).into();
        catalog.put_copies(&copies).await?;
        assert_eq!(wanted(catalog.copied_points(vault.id, 9).await?), [near.point.id, held.point.id], "to heal");
        near.point.purge_at = Some(at(90));
        catalog.put_point(&near).await?;
        catalog.note_left_copies(vault.id, at(30)).await?;
        assert_eq!(catalog.copy(vault.id, near.point.id).await?.left, Some(at(30)));
        assert_eq!(catalog.copy(vault.id, far.point.id).await?.left, None, "it is in the vault, far as it is");
        held.point.archive = there(Near::Gone {});
        catalog.put_point(&held).await?;
        catalog.note_left_copies(vault.id, at(40)).await?;
        assert_eq!(catalog.copy(vault.id, held.point.id).await?.left, None);
        Ok(())
    }

    when_archiving_was_planned_only_grows(catalog) {
        let (vault, _, _) = protected(&catalog, "db").await?;
        assert_eq!(catalog.archive_planned(vault.id).await?, None);
        for (told, kept) in [(5, 5), (9, 9), (7, 9)] {
            catalog.note_archive_plan(vault.id, at(told)).await?;
            assert_eq!(catalog.archive_planned(vault.id).await?, Some::<Timestamp>(at(kept)));
        }
        Ok(())
    }
}
