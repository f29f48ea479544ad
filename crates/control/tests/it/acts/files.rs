//! Sessions on files: whose they are, what ends them, and that no stream ends well that is not whole.

use super::scene::{Scene, code, on_both, pointers};
use anyhow::Result;
use api::files::{
    ArchiveFormat, FilesAsked, FilesDownloadState, FilesOrder, FilesQuestion, FilesReport, FilesSaid,
    FilesSession, NamePattern, OpenFiles,
};
use api::{Code, Problem};
use control::{Actor, Asker, FilesPlace, FilesReply};
use model::access::{Grant, Role, Scope};
use uuid::Uuid;

/// The mover within the server: the scene's hosts are its own.
const MOVER: &str = "server";

fn asker(name: &str, user: u128) -> Asker {
    let grants = vec![Grant { role: Role::BackupOperator, scope: Scope::Everything {} }];
    Asker { actor: Actor(name.to_owned()), user: Uuid::from_u128(user), is_session: true, grants }
}

/// A session of alice's on a point.
async fn opened(scene: &Scene) -> Result<(FilesSession, FilesPlace)> {
    let (_, _, item) = scene.protected("db").await?;
    let point = scene.point(&item, 1).await?;
    let by = asker("alice", 1);
    let session = scene.control.open_files(&by, point, OpenFiles::default()).await?;
    let place = FilesPlace { vault: session.vault, session: session.id, by };
    Ok((session, place))
}

async fn claimed(scene: &Scene) -> Result<FilesOrder> {
    Ok(scene.control.claim_files(MOVER, 0).await?.expect("a session"))
}

fn tar(place: &str) -> FilesQuestion {
    FilesQuestion::Archive { place: place.to_owned(), format: ArchiveFormat::Tar }
}

fn begins() -> FilesSaid {
    FilesSaid::Begins { name: "etc.tar".to_owned(), length: None, size: None }
}

/// Asks, and has the mover hear it; what it says is up to the test.
async fn asked(
    scene: &Scene,
    place: &FilesPlace,
    question: FilesQuestion,
) -> Result<(tokio::task::JoinHandle<control::Result<FilesReply>>, FilesAsked)> {
    let (control, place) = (scene.control.clone(), place.clone());
    let session = place.session;
    let asking = tokio::spawn(async move { control.ask_files(&place, question).await });
    let asked = scene.control.next_of_files(MOVER, session, 25).await?.expect("a question");
    Ok((asking, asked))
}

on_both! {
    a_stream_goes_through_piece_by_piece(scene) {
        let (session, place) = opened(&scene).await?;
        assert_eq!(scene.control.claim_files("another", 0).await?, None, "it is not that mover's");
        let order = claimed(&scene).await?;
        assert_eq!((order.session, order.point, order.item), (session.id, session.point, session.item));
        assert!(order.vault.key.contains("key"), "it can open the vault");
        assert_eq!(scene.control.claim_files(MOVER, 0).await?, None, "it is taken once");

        let (asking, FilesAsked { number, question }) = asked(&scene, &place, tar("vda1:/etc")).await?;
        assert_eq!(question, tar("vda1:/etc"));
        let control = &scene.control;
        control.files_said(MOVER, (session.id, number), begins())?;
        let mut reply = asking.await??;
        assert_eq!((reply.number, &reply.said), (number, &begins()));
        let piece = |ordinal: u64| (session.id, number, ordinal);
        assert!(control.files_piece(MOVER, piece(0), vec![1; 3]).await?);
        // An answer was lost: it is sent again, and is there once.
        assert!(control.files_piece(MOVER, piece(0), vec![1; 3]).await?);
        assert_eq!(code(control.files_piece(MOVER, piece(2), vec![]).await), Code::Conflict);
        assert_eq!(code(control.files_piece("another", piece(1), vec![]).await), Code::NotFound);
        assert_eq!(reply.pieces.next().await?, Some(vec![1; 3]));
        assert!(control.files_piece(MOVER, piece(1), vec![2]).await?);
        let told = control.files_download(&place, number)?;
        assert_eq!((told.state, told.bytes), (FilesDownloadState::UnderWay, 4));
        let report = FilesReport { files: 7, ..FilesReport::default() };
        control.files_said(MOVER, (session.id, number), FilesSaid::Ended { report: report.clone() })?;
        assert_eq!(reply.pieces.next().await?, Some(vec![2]));
        assert_eq!(reply.pieces.next().await?, None);
        let told = control.files_download(&place, number)?;
        assert_eq!((told.state, told.bytes, told.report), (FilesDownloadState::Complete, 4, Some(report)));

        let audited = scene.audited().await?;
        assert_eq!(audited[audited.len() - 2..], ["alice files.open", "alice files.download"]);
        let entry = control.catalog().audit(0, 1000).await?.pop().expect("an entry");
        assert!(entry.object == session.point.to_string() && entry.detail.contains("vda1:/etc"), "{entry:?}");
        Ok(())
    }

    a_stream_whose_mover_fails_or_goes_away_never_ends_well(scene) {
        let (session, place) = opened(&scene).await?;
        let control = &scene.control;
        claimed(&scene).await?;
        // It says why.
        let (asking, FilesAsked { number, .. }) = asked(&scene, &place, tar("/a")).await?;
        control.files_said(MOVER, (session.id, number), begins())?;
        let mut reply = asking.await??;
        assert!(control.files_piece(MOVER, (session.id, number, 0), vec![1]).await?);
        let problem = Problem::new(Code::Conflict, "it contradicts itself");
        control.files_said(MOVER, (session.id, number), FilesSaid::Failed { problem })?;
        assert_eq!(reply.pieces.next().await?, Some(vec![1]));
        assert_eq!(reply.pieces.next().await.map_err(|error| error.to_string()), Err("it contradicts itself".into()));
        assert_eq!(control.files_download(&place, number)?.state, FilesDownloadState::Failed);
        // It asks for the next without a word.
        let (asking, FilesAsked { number, .. }) = asked(&scene, &place, tar("/b")).await?;
        control.files_said(MOVER, (session.id, number), begins())?;
        let mut reply = asking.await??;
        let (asking, FilesAsked { number: next, .. }) = asked(&scene, &place, tar("/c")).await?;
        assert_eq!(code(reply.pieces.next().await), Code::Unavailable);
        assert_eq!(code(control.files_piece(MOVER, (session.id, number, 0), vec![1]).await), Code::NotFound);
        // It says that a stream is whole that never began.
        let report = FilesReport::default();
        control.files_said(MOVER, (session.id, next), FilesSaid::Ended { report })?;
        assert_eq!(code(asking.await?), Code::Unavailable);
        // It dies: nobody hears of it any more.
        let (asking, FilesAsked { number, .. }) = asked(&scene, &place, tar("/d")).await?;
        control.files_said(MOVER, (session.id, number), begins())?;
        let mut reply = asking.await??;
        scene.pass_seconds(59);
        control.tick_files(scene.now());
        assert!(control.files_piece(MOVER, (session.id, number, 0), vec![1]).await?, "it lives");
        scene.pass_seconds(61);
        control.tick_files(scene.now());
        assert_eq!(reply.pieces.next().await?, Some(vec![1]));
        let gone = reply.pieces.next().await.expect_err("the stream is not whole").to_string();
        assert!(gone.contains("the mover server was not heard of"), "{gone}");
        assert_eq!(code(control.files_session(&place)), Code::NotFound);
        assert_eq!(code(control.next_of_files(MOVER, session.id, 0).await), Code::NotFound);
        Ok(())
    }

    who_goes_away_stops_the_mover(scene) {
        let (session, place) = opened(&scene).await?;
        let control = &scene.control;
        claimed(&scene).await?;
        let (asking, FilesAsked { number, .. }) = asked(&scene, &place, tar("/a")).await?;
        control.files_said(MOVER, (session.id, number), begins())?;
        drop(asking.await??);
        assert_eq!(code(control.files_piece(MOVER, (session.id, number, 0), vec![1]).await), Code::NotFound);
        assert_eq!(control.files_download(&place, number)?.state, FilesDownloadState::Failed);
        // What nobody waits for any more is not asked.
        let asking = tokio::spawn({
            let (control, place) = (control.clone(), place.clone());
            async move { control.ask_files(&place, FilesQuestion::Regions {}).await }
        });
        let (other, FilesAsked { number, .. }) = asked(&scene, &place, tar("/b")).await.inspect(|_| asking.abort())?;
        control.close_files(&place)?;
        assert_eq!(code(control.files_said(MOVER, (session.id, number), begins())), Code::NotFound);
        assert_eq!(code(other.await?), Code::NotFound, "it is told that the session was closed");
        Ok(())
    }

    what_nobody_uses_is_closed(scene) {
        let (session, place) = opened(&scene).await?;
        let control = &scene.control;
        let alive = || control.files_alive(MOVER, session.id);
        assert_eq!(code(alive()), Code::NotFound, "nobody has taken it");
        claimed(&scene).await?;
        // Its mover lives; its caller does nothing.
        for _ in 0..11 {
            alive()?;
            scene.pass_seconds(55);
            control.tick_files(scene.now());
        }
        assert_eq!(code(alive()), Code::NotFound);
        assert_eq!(code(control.files_session(&place)), Code::NotFound);
        // A question that takes long is use of it: a caller that reads nothing is none.
        let (session, place) = again(&scene, &session, &place).await?;
        claimed(&scene).await?;
        let alive = || control.files_alive(MOVER, session.id);
        let (asking, FilesAsked { number, .. }) = asked(&scene, &place, tar("/a")).await?;
        for _ in 0..30 {
            scene.pass_seconds(50);
            alive()?;
            control.tick_files(scene.now());
        }
        control.files_said(MOVER, (session.id, number), begins())?;
        let _reply = asking.await??;
        for ordinal in 0..2 {
            assert!(control.files_piece(MOVER, (session.id, number, ordinal), vec![1]).await?);
        }
        for _ in 0..13 {
            scene.pass_seconds(50);
            if alive().is_err() {
                break;
            }
            control.tick_files(scene.now());
        }
        assert_eq!(code(alive()), Code::NotFound);
        // No mover comes.
        let (_, place) = again(&scene, &session, &place).await?;
        scene.pass_seconds(31);
        control.tick_files(scene.now());
        assert_eq!(code(control.files_session(&place)), Code::NotFound);
        Ok(())
    }

    a_session_is_its_callers_alone_and_they_are_not_endless(scene) {
        let (session, place) = opened(&scene).await?;
        let control = &scene.control;
        let bob = FilesPlace { by: asker("bob", 2), ..place.clone() };
        let elsewhere = FilesPlace { vault: model::VaultId(Uuid::from_u128(9)), ..place.clone() };
        for wrong in [&bob, &elsewhere] {
            assert_eq!(code(control.files_session(wrong)), Code::NotFound);
            assert_eq!(code(control.close_files(wrong)), Code::NotFound);
            assert_eq!(code(control.ask_files(wrong, tar("/")).await), Code::NotFound);
            assert_eq!(code(control.files_download(wrong, 1)), Code::NotFound);
        }
        for _ in 0..7 {
            again(&scene, &session, &place).await?;
        }
        let ninth = again(&scene, &session, &place).await.expect_err("enough");
        assert!(ninth.to_string().contains("8 sessions on files are yours already"), "{ninth}");
        again(&scene, &session, &bob).await?;
        Ok(())
    }

    what_makes_no_sense_is_refused_before_a_mover_hears_it(scene) {
        let (session, place) = opened(&scene).await?;
        let control = &scene.control;
        let pattern = |text: &str| FilesQuestion::Matches {
            place: None, pattern: NamePattern::Glob(text.to_owned()), ignore_case: false, limit: 1,
        };
        let page = FilesQuestion::Entries { place: "/".to_owned(), from: 0, limit: 1001 };
        for (question, wrong) in [
            (tar(""), "place"), (tar("/a\n"), "place"), (tar(&"x".repeat(17_000)), "place"),
            (pattern(""), "name"), (page, "limit"),
        ] {
            assert_eq!(pointers(control.ask_files(&place, question).await), [wrong]);
        }
        let point = control::PointPlace { vault: session.vault, item: session.item, point: session.point };
        let by = |mover: &str| OpenFiles { mover: Some(mover.to_owned()), from_copy: false };
        assert_eq!(pointers(control.open_files(&place.by, point, by("nobody")).await), ["/mover"]);
        let nothing = control::PointPlace { point: model::PointId(Uuid::nil()), ..point };
        assert_eq!(code(control.open_files(&place.by, nothing, OpenFiles::default()).await), Code::NotFound);
        Ok(())
    }
}

/// Another session on the same point.
async fn again(
    scene: &Scene,
    session: &FilesSession,
    place: &FilesPlace,
) -> Result<(FilesSession, FilesPlace)> {
    let point = control::PointPlace { vault: session.vault, item: session.item, point: session.point };
    let session = scene.control.open_files(&place.by, point, OpenFiles::default()).await?;
    let place = FilesPlace { session: session.id, ..place.clone() };
    Ok((session, place))
}
