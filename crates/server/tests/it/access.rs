//! Every route, asked by everybody. A route that is not in the table fails: say here who may, in words that know nothing
//! of the code's.

use crate::scene::{Answered, Ask, Scene};
use anyhow::{Context, Result};
use catalog::Catalog;
use serde_json::{Value, json};
use server::listed;
use std::path::Path;
use uuid::Uuid;

/// `METHOD PATH NEED`, where a need is one of
/// - `nobody`: everybody is let through, signed in or not;
/// - `signed-in`: whoever is, but movers; what more it asks is tested beside it;
/// - `mover`: movers alone;
/// - `vault ROLE`: that role or a stronger one, in the vault of the address or everywhere;
/// - `somewhere ROLE`: in any vault or everywhere;
/// - `everywhere ROLE`: everywhere.
const TABLE: &str = "
GET    /v1/alerts                                              somewhere reader
POST   /v1/alerts/{alert}/acknowledge                          somewhere operator
GET    /v1/audit                                               everywhere owner
GET    /v1/audit/chain                                         everywhere owner
GET    /v1/cost                                                somewhere reader
GET    /v1/events                                              somewhere reader
GET    /v1/forecast                                            somewhere reader
GET    /v1/health                                              nobody
GET    /v1/hosts                                               somewhere reader
POST   /v1/hosts                                               everywhere operator
DELETE /v1/hosts/{host}                                        everywhere contributor
GET    /v1/jobs                                                somewhere reader
GET    /v1/jobs/{job}                                          somewhere reader
POST   /v1/jobs/{job}/cancel                                   somewhere operator
GET    /v1/jobs/{job}/events                                   somewhere reader
GET    /v1/jobs/{job}/log                                      somewhere reader
POST   /v1/jobs/{job}/retry                                    somewhere operator
POST   /v1/login                                               nobody
POST   /v1/login/sso                                           nobody
POST   /v1/login/sso/finish                                    nobody
POST   /v1/logout                                              signed-in
GET    /v1/machines                                            somewhere reader
GET    /v1/machines/{machine}                                  somewhere reader
PUT    /v1/machines/{machine}/tags                             everywhere operator
GET    /v1/me                                                  signed-in
GET    /v1/movers                                              everywhere reader
POST   /v1/movers/join                                         nobody
POST   /v1/movers/tokens                                       everywhere operator
DELETE /v1/movers/{mover}                                      everywhere contributor
GET    /v1/openapi.json                                        nobody
GET    /v1/overview                                            somewhere reader
GET    /v1/prices                                              somewhere reader
PUT    /v1/prices                                              everywhere contributor
GET    /v1/users                                               somewhere owner
POST   /v1/users                                               somewhere owner
PATCH  /v1/users/{user}                                        signed-in
PUT    /v1/users/{user}/roles                                  somewhere owner
GET    /v1/users/{user}/tokens                                 signed-in
POST   /v1/users/{user}/tokens                                 signed-in
DELETE /v1/users/{user}/tokens/{token}                         signed-in
GET    /v1/vaults                                              somewhere reader
POST   /v1/vaults                                              everywhere contributor
GET    /v1/vaults/{vault}                                      vault reader
PATCH  /v1/vaults/{vault}                                      vault contributor
DELETE /v1/vaults/{vault}                                      vault owner
GET    /v1/vaults/{vault}/archive                              vault reader
POST   /v1/vaults/{vault}/archive                              vault contributor
GET    /v1/vaults/{vault}/copies                               vault reader
POST   /v1/vaults/{vault}/copy                                 vault contributor
GET    /v1/vaults/{vault}/files/{session}                      vault operator
DELETE /v1/vaults/{vault}/files/{session}                      vault operator
GET    /v1/vaults/{vault}/files/{session}/archive              vault operator
GET    /v1/vaults/{vault}/files/{session}/content              vault operator
GET    /v1/vaults/{vault}/files/{session}/downloads/{number}   vault operator
GET    /v1/vaults/{vault}/files/{session}/entries              vault operator
GET    /v1/vaults/{vault}/files/{session}/matches              vault operator
GET    /v1/vaults/{vault}/files/{session}/volumes              vault operator
POST   /v1/vaults/{vault}/heal                                 vault contributor
GET    /v1/vaults/{vault}/images                               vault reader
POST   /v1/vaults/{vault}/images                               vault contributor
GET    /v1/vaults/{vault}/images/{image}                       vault reader
DELETE /v1/vaults/{vault}/images/{image}                       vault contributor
POST   /v1/vaults/{vault}/images/{image}/copy                  vault operator
GET    /v1/vaults/{vault}/images/{image}/machines              vault reader
POST   /v1/vaults/{vault}/images/{image}/machines              vault operator
POST   /v1/vaults/{vault}/images/{image}/undelete              vault contributor
GET    /v1/vaults/{vault}/items                                vault reader
POST   /v1/vaults/{vault}/items                                vault operator
POST   /v1/vaults/{vault}/items/change-policy                  vault operator
GET    /v1/vaults/{vault}/items/{item}                         vault reader
PATCH  /v1/vaults/{vault}/items/{item}                         vault operator
POST   /v1/vaults/{vault}/items/{item}/backup                  vault operator
GET    /v1/vaults/{vault}/items/{item}/points                  vault reader
GET    /v1/vaults/{vault}/items/{item}/points/{point}          vault reader
DELETE /v1/vaults/{vault}/items/{item}/points/{point}          vault contributor
POST   /v1/vaults/{vault}/items/{item}/points/{point}/drill    vault operator
POST   /v1/vaults/{vault}/items/{item}/points/{point}/files    vault operator
PUT    /v1/vaults/{vault}/items/{item}/points/{point}/pin      vault contributor
POST   /v1/vaults/{vault}/items/{item}/points/{point}/rehydrate vault operator
POST   /v1/vaults/{vault}/items/{item}/points/{point}/replace  vault operator
POST   /v1/vaults/{vault}/items/{item}/points/{point}/restore  vault operator
POST   /v1/vaults/{vault}/items/{item}/points/{point}/restore-into vault operator
GET    /v1/vaults/{vault}/items/{item}/points/{point}/screenshot vault operator
POST   /v1/vaults/{vault}/items/{item}/points/{point}/undelete vault contributor
POST   /v1/vaults/{vault}/items/{item}/points/{point}/verify   vault operator
GET    /v1/vaults/{vault}/items/{item}/replacements            vault reader
POST   /v1/vaults/{vault}/items/{item}/replacements/{replacement}/finish vault operator
POST   /v1/vaults/{vault}/items/{item}/replacements/{replacement}/remove vault contributor
POST   /v1/vaults/{vault}/items/{item}/replacements/{replacement}/undo   vault operator
POST   /v1/vaults/{vault}/items/{item}/resume                  vault operator
GET    /v1/vaults/{vault}/items/{item}/skipped                 vault reader
POST   /v1/vaults/{vault}/items/{item}/stop                    vault contributor
POST   /v1/vaults/{vault}/items/{item}/undelete                vault contributor
GET    /v1/vaults/{vault}/keys                                 vault reader
POST   /v1/vaults/{vault}/keys/rotate                          vault owner
POST   /v1/vaults/{vault}/measure                              vault contributor
GET    /v1/vaults/{vault}/policies                             vault reader
POST   /v1/vaults/{vault}/policies                             vault contributor
POST   /v1/vaults/{vault}/policies/preview                     vault reader
GET    /v1/vaults/{vault}/policies/{policy}                    vault reader
PUT    /v1/vaults/{vault}/policies/{policy}                    vault contributor
DELETE /v1/vaults/{vault}/policies/{policy}                    vault contributor
POST   /v1/vaults/{vault}/policies/{policy}/dry-run            vault reader
GET    /v1/vaults/{vault}/proofs                               vault reader
GET    /v1/vaults/{vault}/restore-sets                         vault reader
POST   /v1/vaults/{vault}/restore-sets                         vault operator
GET    /v1/vaults/{vault}/restore-sets/{set}                   vault reader
POST   /v1/vaults/{vault}/restore-sets/{set}/cancel            vault operator
GET    /v1/vaults/{vault}/snapshots                            vault reader
POST   /v1/vaults/{vault}/snapshots                            vault operator
POST   /v1/vaults/{vault}/snapshots/measure                    vault operator
GET    /v1/vaults/{vault}/snapshots/{snapshot}                 vault reader
DELETE /v1/vaults/{vault}/snapshots/{snapshot}                 vault contributor
POST   /v1/vaults/{vault}/snapshots/{snapshot}/compare         vault operator
POST   /v1/vaults/{vault}/snapshots/{snapshot}/copy            vault operator
POST   /v1/vaults/{vault}/snapshots/{snapshot}/export          vault operator
POST   /v1/vaults/{vault}/snapshots/{snapshot}/undelete        vault contributor
GET    /v1/vaults/{vault}/usage                                vault reader
GET    /v1/version                                             nobody
POST   /v1/work/claim                                          mover
POST   /v1/work/files/claim                                    mover
POST   /v1/work/files/{session}/alive                          mover
POST   /v1/work/files/{session}/answers/{number}               mover
PUT    /v1/work/files/{session}/answers/{number}/pieces/{piece} mover
POST   /v1/work/files/{session}/next                           mover
GET    /v1/work/hosts                                          mover
PUT    /v1/work/inventory                                      mover
PUT    /v1/work/{job}/picture                                  mover
POST   /v1/work/{job}/report                                   mover
PUT    /v1/work/{job}/usage                                    mover
";

const HERE: Uuid = Uuid::from_u128(1);
const THERE: Uuid = Uuid::from_u128(2);
/// In place of other parameters: a uuid that nothing has.
const NOTHING: Uuid = Uuid::from_u128(3);
/// The weakest first.
const ROLES: [&str; 4] = ["reader", "operator", "contributor", "owner"];

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Nobody,
    Mover,
    /// The rank of a role, and where it holds: none is everywhere.
    Role(usize, Option<Uuid>),
}

/// What comes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Through,
    Unauthenticated,
    Forbidden,
    /// The vault is not told from one that is not there.
    Hidden,
}

fn everybody() -> Vec<Who> {
    let places = [Some(HERE), Some(THERE), None];
    let roles = (0..ROLES.len()).flat_map(|rank| places.map(|place| Who::Role(rank, place)));
    [Who::Nobody, Who::Mover].into_iter().chain(roles).collect()
}

fn expected(need: &str, who: Who) -> Outcome {
    use Outcome::{Forbidden, Hidden, Through, Unauthenticated};
    let rank = |role: &str| ROLES.iter().position(|one| *one == role).expect("a role of the table");
    let when = |let_through: bool| if let_through { Through } else { Forbidden };
    match (need.split_once(' ').unwrap_or((need, "")), who) {
        (("nobody", _), _) => Through,
        (_, Who::Nobody) => Unauthenticated,
        (("mover", _), who) => when(who == Who::Mover),
        (_, Who::Mover) => Forbidden,
        (("signed-in", _), Who::Role(..)) => Through,
        (("vault", _), Who::Role(_, Some(THERE))) => Hidden,
        (("vault" | "somewhere", role), Who::Role(has, _)) => when(has >= rank(role)),
        (("everywhere", role), Who::Role(has, place)) => when(place.is_none() && has >= rank(role)),
        (other, _) => panic!("{other:?} is no need of the table"),
    }
}

fn outcome(answer: &Answered) -> Outcome {
    let detail = answer.json()["detail"].as_str().unwrap_or_default().to_owned();
    match answer.status {
        401 if detail == "nobody is signed in" => Outcome::Unauthenticated,
        403 if detail.ends_with("has no role for this") || detail.contains("mover") => Outcome::Forbidden,
        404 if detail == format!("there is no vault {HERE}") => Outcome::Hidden,
        _ => Outcome::Through,
    }
}

/// `(method, path, need)` of each line.
fn table() -> Vec<(&'static str, &'static str, String)> {
    let lines = TABLE.lines().filter(|line| !line.trim().is_empty());
    let parts = |line: &'static str| {
        let mut words = line.split_whitespace();
        let (method, path) = (words.next().expect("a method"), words.next().expect("a path"));
        (method, path, words.collect::<Vec<_>>().join(" "))
    };
    lines.map(parts).collect()
}

#[test]
fn every_route_is_in_the_table_once_and_in_order() {
    let in_table: Vec<_> = table().iter().map(|(method, path, _)| (*path, *method)).collect();
    let mut sorted = in_table.clone();
    sorted.sort_by_key(|(path, method)| {
        (*path, ["GET", "POST", "PUT", "PATCH", "DELETE"].iter().position(|one| one == method))
    });
    assert_eq!(in_table, sorted, "the table is kept in order, so that branches merge");
    let mut routes: Vec<_> = listed().iter().map(|one| (one.path, one.method)).collect();
    let mut tabled = in_table;
    routes.sort_unstable();
    tabled.sort_unstable();
    assert_eq!(tabled, routes, "left: the table; right: the routes");
}

/// A catalog with all callers in it, and their tokens.
async fn prepared(folder: &Path) -> Result<Vec<(Who, Option<String>)>> {
    let (scene, admin) = Scene::with_owner().await?;
    scene.vault(HERE, "here").await?;
    scene.vault(THERE, "there").await?;
    let mut callers = Vec::new();
    for who in everybody() {
        let token = match who {
            Who::Nobody => None,
            Who::Mover => Some(scene.control.mover_token("host").await?),
            Who::Role(rank, place) => {
                let name = format!("{} {}", ROLES[rank], place.map_or(0, |place| place.as_u128()));
                let role = ["backup_reader", "backup_operator", "backup_contributor", "vault_owner"][rank];
                Some(scene.user(&admin, &name, json!([{ "role": role, "vault": place }])).await?.1)
            }
        };
        callers.push((who, token));
    }
    // Closed, it is one file.
    scene.control.catalog().close().await;
    std::fs::copy(scene.folder.path().join("catalog.db"), folder.join("catalog.db"))
        .context("keep the catalog")?;
    Ok(callers)
}

async fn copied(from: &Path) -> Result<Scene> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("catalog.db");
    std::fs::copy(from.join("catalog.db"), &file).context("copy the catalog")?;
    Ok(Scene::over(Catalog::open_file(&file).await?, folder))
}

fn address(path: &str) -> String {
    let part = |part: &str| match part {
        "{vault}" => HERE.to_string(),
        _ if part.starts_with('{') => NOTHING.to_string(),
        _ => part.to_owned(),
    };
    path.split('/').map(part).collect::<Vec<_>>().join("/")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_lets_through_whom_it_should_and_nobody_else() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let callers = prepared(folder.path()).await?;
    let mut scene = copied(folder.path()).await?;
    let mut wrong = Vec::new();
    for (method, path, need) in table() {
        for (who, token) in &callers {
            let mut ask = Ask::new(method, address(path));
            if let Some(token) = token {
                ask = ask.token(token);
            }
            let answer = scene.ask(ask).await;
            let (found, expected) = (outcome(&answer), expected(&need, *who));
            if found != expected {
                wrong.push(format!(
                    "{method} {path} by {who:?}: {found:?} ({}), not {expected:?}",
                    answer.status
                ));
            }
            // What was let through may have changed something, and the next finds all as it was.
            if found == Outcome::Through && method != "GET" {
                scene = copied(folder.path()).await?;
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// What an address says of its need in the API's document is what the table says.
#[test]
fn the_document_says_who_must_be_signed_in() {
    let document = server::document();
    for (method, path, need) in table() {
        let operation = &document["paths"][path][method.to_ascii_lowercase()];
        assert_eq!(operation["security"] == Value::Null, need == "nobody", "{method} {path}");
    }
}
