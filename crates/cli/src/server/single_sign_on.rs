//! What `strongroom server run` is told of single sign-on: whose word counts, and what it gives.

use crate::service::RoleName;
use anyhow::{Context, Result};
use clap::{Args as ClapArgs, ValueEnum};
use control::{GroupRole, Mapping, SingleSignOn};
use oidc::{Provider, Settings};
use std::path::PathBuf;
use zeroize::Zeroizing;

#[derive(Debug, ClapArgs)]
#[command(next_help_heading = "Single sign-on")]
pub(crate) struct SsoArgs {
    /// A provider of OpenID Connect, by the address that it calls itself.
    #[arg(long, value_name = "URL", env = "STRONGROOM_SSO_ISSUER", requires_all = ["sso_client", "sso_role"])]
    sso_issuer: Option<String>,
    /// What the provider knows this server as.
    #[arg(long, value_name = "ID", env = "STRONGROOM_SSO_CLIENT", requires = "sso_issuer")]
    sso_client: Option<String>,
    /// A file with the secret that the provider gave for it; none: a public client.
    #[arg(long, value_name = "FILE", env = "STRONGROOM_SSO_SECRET_FILE", requires = "sso_issuer")]
    sso_secret_file: Option<PathBuf>,
    /// What a group gives, as GROUP=ROLE, or GROUP=ROLE@VAULT in one vault; GROUP is * for whoever the provider lets in.
    /// Roles are reader, operator, contributor and owner. May be repeated, or several with `;` between them.
    #[arg(
        long,
        value_name = "GROUP=ROLE[@VAULT]",
        env = "STRONGROOM_SSO_ROLES",
        value_delimiter = ';',
        value_parser = group_role,
        requires = "sso_issuer"
    )]
    sso_role: Vec<GroupRole>,
    /// The claim that lists groups, or a JSON pointer to it as /realm_access/roles.
    #[arg(long, value_name = "CLAIM", env = "STRONGROOM_SSO_GROUPS_CLAIM", default_value = "groups")]
    sso_groups_claim: String,
    /// The claim that users are named by.
    #[arg(
        long,
        value_name = "CLAIM",
        env = "STRONGROOM_SSO_NAME_CLAIM",
        default_value = "preferred_username"
    )]
    sso_name_claim: String,
    /// What is asked of the provider besides openid; may be repeated.
    #[arg(
        long,
        value_name = "SCOPE",
        env = "STRONGROOM_SSO_SCOPES",
        value_delimiter = ' ',
        default_values = ["profile", "email"]
    )]
    sso_scope: Vec<String>,
    /// An address that a browser may be sent back to, besides those of the loopback; may be repeated.
    #[arg(
        long,
        value_name = "URL",
        env = "STRONGROOM_SSO_REDIRECTS",
        value_delimiter = ' ',
        requires = "sso_issuer"
    )]
    sso_redirect: Vec<String>,
    /// Who signed the provider's certificate, as a PEM file, where the system does not know them.
    #[arg(long, value_name = "FILE", env = "STRONGROOM_SSO_CERTIFICATE", requires = "sso_issuer")]
    sso_certificate: Option<PathBuf>,
}

impl SsoArgs {
    /// None where nothing is said of it. The provider is not asked: it may start later than the server.
    pub(super) fn read(&self) -> Result<Option<SingleSignOn>> {
        let (Some(issuer), Some(client)) = (&self.sso_issuer, &self.sso_client) else { return Ok(None) };
        let text = |path: &PathBuf| {
            std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))
        };
        let secret = self.sso_secret_file.as_ref().map(text).transpose()?.map(Zeroizing::new);
        let settings = Settings {
            issuer: issuer.clone(),
            client: client.clone(),
            secret: secret.map(|secret| Zeroizing::new(secret.trim_end_matches(['\r', '\n']).to_owned())),
            scopes: self.sso_scope.clone(),
            claims: vec![self.sso_name_claim.clone(), self.sso_groups_claim.clone()],
            certificate: self.sso_certificate.as_ref().map(text).transpose()?,
        };
        let mapping = Mapping {
            name_claim: self.sso_name_claim.clone(),
            groups_claim: self.sso_groups_claim.clone(),
            roles: self.sso_role.clone(),
            redirects: self.sso_redirect.clone(),
        };
        let provider = Provider::new(settings).context("set up single sign-on")?;
        Ok(Some(SingleSignOn { provider, mapping }))
    }
}

/// Of the last `=` what is ahead is the group: groups of a directory have some in their names.
fn group_role(text: &str) -> Result<GroupRole, String> {
    let (group, role) = text.rsplit_once('=').ok_or("it is written as GROUP=ROLE")?;
    let (role, vault) = match role.split_once('@') {
        Some((role, vault)) => (role, Some(vault)),
        None => (role, None),
    };
    if group.is_empty() || vault == Some("") {
        return Err("it is written as GROUP=ROLE, or GROUP=ROLE@VAULT".to_owned());
    }
    let role = RoleName::from_str(role, false)?.role();
    Ok(GroupRole { group: group.to_owned(), role, vault: vault.map(str::to_owned) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use model::access::Role;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        sso: SsoArgs,
    }

    fn mapping(line: &[&str]) -> Option<Mapping> {
        let provider = ["x", "--sso-issuer", "https://id.example", "--sso-client", "strongroom"];
        let parsed = Line::try_parse_from(provider.iter().chain(line)).ok()?;
        parsed.sso.read().expect("it can be read").map(|sso| sso.mapping)
    }

    #[test]
    fn groups_give_roles_everywhere_or_in_a_vault() {
        let of = |group: &str, role: Role, vault: Option<&str>| GroupRole {
            group: group.to_owned(),
            role,
            vault: vault.map(str::to_owned),
        };
        let given = mapping(&[
            "--sso-role",
            "cn=ops,dc=example=operator@main;*=reader",
            "--sso-role",
            "admins=owner",
        ]);
        let expected = [
            of("cn=ops,dc=example", Role::BackupOperator, Some("main")),
            of("*", Role::BackupReader, None),
            of("admins", Role::VaultOwner, None),
        ];
        assert_eq!(given.expect("it is good").roles, expected);
        for wrong in ["admins", "=owner", "admins=king", "admins=owner@", "admins=Owner", ""] {
            assert_eq!(mapping(&["--sso-role", wrong]), None, "{wrong}");
        }
        assert_eq!(mapping(&[]), None, "nobody could come in");
        let nothing = Line::try_parse_from(["x"]).expect("nothing need be said").sso.read();
        assert!(nothing.expect("it can be read").is_none());
        assert!(Line::try_parse_from(["x", "--sso-role", "a=owner"]).is_err(), "of which provider?");
    }
}
