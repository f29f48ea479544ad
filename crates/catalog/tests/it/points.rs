//! Points: noted, listed by time, found when they may expire.

use crate::scene::{at, on_both, point, protected};
use catalog::ErrorKind;
use tokio::task::JoinSet;

on_both! {
    points_are_listed_newest_first_whatever_the_order_they_came_in(catalog) {
        let (_, _, item) = protected(&catalog, "db").await?;
        let rows: Vec<_> = [5, 1, 9, 3, 7, 3].into_iter().map(|second| point(&item, at(second))).collect();
        for row in &rows {
            catalog.put_point(row).await?;
        }
        assert_eq!(catalog.item(item.id).await?.last_point, Some(at(9)));
        let mut seen = Vec::new();
        let mut place = None;
        loop {
            let page = catalog.points(item.id, place.as_ref(), 2).await?;
            seen.extend(page.rows);
            place = page.next;
            if place.is_none() { break; }
        }
        let mut expected = rows;
        expected.sort_by_key(|row| std::cmp::Reverse((row.point.taken, row.point.id.to_string())));
        assert_eq!(seen, expected);
        let (points, bytes, span) = catalog.points_in_all().await?;
        assert_eq!((points, bytes, span), (6, 6 << 40, Some((at(1), at(9)))));
        Ok(())
    }

    a_point_taken_in_again_changes_what_it_is_kept_for_alone(catalog) {
        let (_, _, item) = protected(&catalog, "db").await?;
        let mut row = point(&item, at(5));
        catalog.put_point(&row).await?;
        row.point.pinned = true;
        (row.point.purge_at, row.expires) = (Some(at(50)), None);
        catalog.put_points(&[row.clone(), point(&item, at(6))]).await?;
        assert_eq!(catalog.point(row.point.id).await?, row);
        assert_eq!(catalog.points(item.id, None, 10).await?.rows.len(), 2);
        Ok(())
    }

    who_has_expired_points_is_found(catalog) {
        let (_, _, item) = protected(&catalog, "db").await?;
        assert_eq!(catalog.points_in_all().await?, (0, 0, None));
        let mut row = point(&item, at(5));
        row.expires = Some(at(100));
        catalog.put_point(&row).await?;
        assert!(catalog.items_with_expired_points(at(99), 10).await?.is_empty());
        assert_eq!(catalog.items_with_expired_points(at(100), 10).await?, [item.id]);
        row.point.purge_at = Some(at(200));
        catalog.put_point(&row).await?;
        assert!(catalog.items_with_expired_points(at(100), 10).await?.is_empty(), "it is deleted already");
        Ok(())
    }

    a_point_of_nobody_is_refused_and_a_plan_is_written_wholly_or_not(catalog) {
        let (_, _, item) = protected(&catalog, "db").await?;
        let stranger = catalog::Item { id: uuid::Uuid::now_v7(), ..item.clone() };
        let refused = catalog.put_points(&[point(&item, at(1)), point(&stranger, at(2))]).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Invalid);
        assert_eq!(catalog.points_in_all().await?.0, 0);
        Ok(())
    }

    totals_are_right_whatever_is_changed_at_once(catalog) {
        let (_, _, item) = protected(&catalog, "db").await?;
        let rows: Vec<_> = (1..=20).map(|second| point(&item, at(second))).collect();
        let mut all = JoinSet::new();
        for row in rows.clone() {
            let catalog = catalog.clone();
            all.spawn(async move { catalog.put_point(&row).await });
        }
        all.join_all().await.into_iter().collect::<Result<Vec<_>, _>>()?;
        catalog.put_points(&rows).await?;
        assert_eq!(catalog.points_in_all().await?, (20, 20 << 40, Some((at(1), at(20)))));
        let mut both = JoinSet::new();
        for (gone, stays) in rows.iter().zip(&rows[10..]) {
            let (gone, more) = (gone.point.id, point(&item, stays.point.taken));
            let [one, other] = [catalog.clone(), catalog.clone()];
            both.spawn(async move { one.remove_point(gone).await });
            both.spawn(async move { other.put_point(&more).await });
        }
        both.join_all().await.into_iter().collect::<Result<Vec<_>, _>>()?;
        assert_eq!(catalog.points_in_all().await?, (20, 20 << 40, Some((at(11), at(20)))));
        assert_eq!(catalog.remove_point(rows[0].point.id).await.unwrap_err().kind(), ErrorKind::NotFound);
        Ok(())
    }
}
