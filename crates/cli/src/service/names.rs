//! Finding what people name: by its name, its id, or the end of its id.

use crate::failure::Told;
use anyhow::Result;
use api::client::{Client, escaped};
use api::{Item, ItemState, Machine, Point, Policy, Vault};
use clap::Args as ClapArgs;
use std::fmt::Display;

/// Fewer characters of an id would fit too many.
const END_MIN: usize = 4;

/// Which vault.
#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct InVault {
    /// The vault, by its name or id; may be left out when there is one.
    #[arg(long, value_name = "VAULT")]
    pub(crate) vault: Option<String>,
}

/// The one of `all` that is meant. `of` gives what each is called and its id.
pub(crate) fn choose<T, I: Display>(
    what: &str,
    all: Vec<T>,
    wanted: &str,
    of: impl Fn(&T) -> (String, I),
) -> Result<T> {
    let id = |one: &T| of(one).1.to_string();
    let by_id = |one: &T| id(one).eq_ignore_ascii_case(wanted);
    let by_name = |one: &T| of(one).0 == wanted;
    let by_end = |one: &T| wanted.len() >= END_MIN && id(one).ends_with(&wanted.to_lowercase());
    let fits: [&dyn Fn(&T) -> bool; 3] = [&by_id, &by_name, &by_end];
    // An id is never mistaken for a name, nor a name for the end of an id.
    let Some(fit) = fits.into_iter().find(|fit| all.iter().any(fit)) else {
        let noun = what.split(' ').next().unwrap_or(what);
        let hint = format!("`strongroom {noun} list` shows what there is");
        return Err(Told::not_found(format!("there is no {what} {wanted}"), hint));
    };
    let mut found: Vec<T> = all.into_iter().filter(|one| fit(one)).collect();
    if found.len() > 1 {
        let ids: Vec<String> = found.iter().map(id).collect();
        let text = format!("{} of {what} are called {wanted}: {}", found.len(), ids.join(" and "));
        return Err(Told::usage(text, "name it by its id"));
    }
    Ok(found.remove(0))
}

/// The vault that is meant; without a name, the only one.
pub(crate) async fn vault(client: &Client, wanted: Option<&str>) -> Result<Vault> {
    let all: Vec<Vault> = client.all("/v1/vaults").await?;
    match wanted {
        Some(wanted) => choose("vault", all, wanted, |one| (one.name.clone(), one.id)),
        None => only(all),
    }
}

fn only(mut all: Vec<Vault>) -> Result<Vault> {
    match all.len() {
        1 => Ok(all.remove(0)),
        0 => {
            Err(Told::not_found("there is no vault yet", "`strongroom vault create NAME LOCATION` makes one"))
        }
        _ => {
            let names: Vec<_> = all.iter().map(|one| one.name.as_str()).collect();
            let hint = format!("name one with --vault: {}", names.join(", "));
            Err(Told::usage(format!("there are {} vaults", all.len()), hint))
        }
    }
}

/// A policy of a vault.
pub(crate) async fn policy(client: &Client, vault: &Vault, wanted: &str) -> Result<Policy> {
    let all = client.all(&format!("/v1/vaults/{}/policies", vault.id)).await?;
    choose("policy", all, wanted, |one: &Policy| (one.name.clone(), one.id))
}

/// Machines that hosts have told of.
pub(crate) async fn machines(client: &Client, wanted: &[String]) -> Result<Vec<Machine>> {
    let all: Vec<Machine> = client.all("/v1/machines?limit=1000").await?;
    let of = |one: &Machine| (one.name.clone(), one.id);
    wanted.iter().map(|wanted| choose("machine", all.clone(), wanted, of)).collect()
}

/// A machine under protection, or that was: by its name, its id, or its item's. In all vaults if none is said.
pub(crate) async fn item(client: &Client, in_vault: &InVault, wanted: &str) -> Result<Item> {
    let mut vaults: Vec<Vault> = client.all("/v1/vaults").await?;
    if let Some(wanted) = &in_vault.vault {
        vaults = vec![choose("vault", vaults, wanted, |one| (one.name.clone(), one.id))?];
    }
    let mut all: Vec<Item> = Vec::new();
    for vault in &vaults {
        all.extend(client.all::<Item>(&format!("/v1/vaults/{}/items?limit=1000", vault.id)).await?);
    }
    if let Some(found) = all.iter().find(|one| one.id.to_string().eq_ignore_ascii_case(wanted)) {
        return Ok(found.clone());
    }
    // Nothing is left of these: they stand in nobody's way.
    all.retain(|one| one.state != ItemState::Unprotected);
    let found = choose("item of machine", all, wanted, |one| (one.name.clone(), one.machine));
    found.map_err(|error| {
        error.context(format!(
            "find what protects {wanted}: `strongroom protect` puts a machine under protection"
        ))
    })
}

/// A point of an item: by its id, the end of it, or `latest`.
pub(crate) async fn point(client: &Client, item: &Item, wanted: &str) -> Result<Point> {
    let mut all: Vec<Point> = client.all(&format!("{}/points?limit=1000", item_path(item))).await?;
    if wanted == "latest" {
        all.retain(|point| point.purge_at.is_none());
        return all.into_iter().max_by_key(|point| point.taken).ok_or_else(|| {
            let hint = format!("`strongroom backup {}` makes one", item.name);
            Told::not_found(format!("{} has no points", item.name), hint)
        });
    }
    choose("point", all, wanted, |one| (String::new(), one.id))
}

/// The address of a list, with what is wished of its entries; all that fit on a page at once.
pub(super) fn with(path: &str, wishes: &[(&str, Option<String>)]) -> String {
    let wishes = wishes.iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
    let wishes: String = wishes.map(|(name, value)| format!("&{name}={}", escaped(value))).collect();
    format!("{path}?limit=1000{wishes}")
}

/// Where an item is.
pub(crate) fn item_path(item: &Item) -> String {
    format!("/v1/vaults/{}/items/{}", item.vault, item.id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wishes_stand_in_an_address() {
        let wishes = [("name", Some("a b&c".to_owned())), ("tag", None)];
        assert_eq!(with("/v1/machines", &wishes), "/v1/machines?limit=1000&name=a%20b%26c");
    }

    const ALL: [(&str, &str); 5] = [
        ("shop", "0000-aaaa1"),
        ("mail", "0000-bbbb1"),
        ("mail", "0000-bbbb2"),
        ("bbbb1", "0000-cccc1"),
        ("0000-aaaa1", "0000-dddd1"),
    ];

    fn chosen(wanted: &str) -> Result<&'static str, String> {
        let of = |one: &(&'static str, &'static str)| (one.0.to_owned(), one.1);
        choose("machine", ALL.to_vec(), wanted, of).map(|one| one.1).map_err(|error| error.to_string())
    }

    #[test]
    fn by_name_by_id_and_by_its_end() {
        assert_eq!(chosen("shop"), Ok("0000-aaaa1"));
        assert_eq!(chosen("0000-BBBB2"), Ok("0000-bbbb2"));
        assert_eq!(chosen("bbb2"), Ok("0000-bbbb2"));
        assert_eq!(chosen("bbbb1"), Ok("0000-cccc1"), "a name comes before the end of an id");
        assert_eq!(chosen("0000-aaaa1"), Ok("0000-aaaa1"), "an id comes before a name");
    }

    #[test]
    fn two_are_told_apart_by_whoever_asks() {
        let both = chosen("mail").expect_err("two have the name");
        assert!(both.contains("0000-bbbb1 and 0000-bbbb2"), "{both}");
        assert!(chosen("bb2").is_err(), "too short for an end");
        assert_eq!(chosen("nobody"), Err("there is no machine nobody".to_owned()));
    }
}
