//! `strongroom user`: people and services, and what they may do.

use super::confirm::{Undo, Yes, confirm};
use super::login::line_of_input;
use super::names::{self, InVault, choose};
use super::token::{self, TokenCommand};
use super::words::word;
use crate::failure::Told;
use crate::output::{self, Output};
use anyhow::{Context as _, Result, ensure};
use api::client::{Client, Method};
use api::{NewUser, RoleGrant, Roles, User, UserChange, Vault};
use clap::{Args as ClapArgs, Subcommand, ValueEnum};
use model::access::Role;
use std::io::IsTerminal;

#[derive(Debug, Subcommand)]
pub(crate) enum UserCommand {
    /// Add a person, whose password is asked for, or a service, which comes by token.
    Add {
        /// The name.
        #[arg(value_name = "USER")]
        name: String,
        /// Read the password from standard input.
        #[arg(long)]
        password_stdin: bool,
        /// A service: without a password.
        #[arg(long, conflicts_with = "password_stdin")]
        service: bool,
        /// What the user may do everywhere; `strongroom user grant` gives roles in single vaults.
        #[arg(long, value_enum)]
        role: Option<RoleName>,
    },
    /// List users and their roles.
    List,
    /// Shut a user out, and end its sessions.
    Disable {
        /// The user, by its name or id.
        #[arg(value_name = "USER")]
        user: String,
        /// Let the user in again instead.
        #[arg(long)]
        undo: bool,
        #[command(flatten)]
        yes: Yes,
    },
    /// Give a user a role: in a vault, or everywhere.
    Grant {
        #[command(flatten)]
        grant: GrantArgs,
    },
    /// Take a role from a user.
    Revoke {
        #[command(flatten)]
        grant: GrantArgs,
    },
    /// Set a user's password; ends its sessions.
    Password {
        /// The user, by its name or id.
        #[arg(value_name = "USER")]
        user: String,
        /// Read the password from standard input.
        #[arg(long)]
        password_stdin: bool,
    },
    /// Make, list and revoke tokens of services, and sessions of people.
    #[command(subcommand)]
    Token(TokenCommand),
}

#[derive(Debug, ClapArgs)]
pub(crate) struct GrantArgs {
    /// The user, by its name or id.
    #[arg(value_name = "USER")]
    user: String,
    /// The role.
    #[arg(value_name = "ROLE", value_enum)]
    role: RoleName,
    /// In which vault, by its name or id; in all of them, and where no vault is concerned, if not said.
    #[command(flatten)]
    vault: InVault,
}

/// Roles, as Azure calls them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum RoleName {
    /// Sees everything, changes nothing.
    Reader,
    /// Also runs backups and restores, and puts machines under protection.
    Operator,
    /// Also makes policies and vaults, stops protection, deletes points.
    Contributor,
    /// Also deletes vaults, and gives roles to others.
    Owner,
}

impl RoleName {
    pub(crate) fn role(self) -> Role {
        match self {
            Self::Reader => Role::BackupReader,
            Self::Operator => Role::BackupOperator,
            Self::Contributor => Role::BackupContributor,
            Self::Owner => Role::VaultOwner,
        }
    }
}

pub(crate) async fn run(output: &Output, client: &Client, command: UserCommand) -> Result<()> {
    match command {
        UserCommand::Add { name, password_stdin, service, role } => {
            let password = if service { None } else { Some(new_password(password_stdin)?.to_string()) };
            let roles = role.map(|role| RoleGrant { role: role.role(), vault: None }).into_iter().collect();
            let new = NewUser { name, password, roles };
            let made: Option<User> = client.send(Method::POST, "/v1/users", &new).await?;
            let user = made.context("the server told nothing of the user")?;
            output::print(output, &user, || table(std::slice::from_ref(&user), &[]))
        }
        UserCommand::List => {
            let all: Vec<User> = client.all("/v1/users").await?;
            let vaults: Vec<Vault> = client.all("/v1/vaults").await?;
            output::print(output, &all, || table(&all, &vaults))
        }
        UserCommand::Disable { user, undo, yes } => {
            let user = find(client, &user).await?;
            if !undo {
                let text =
                    format!("{} cannot come in any more, until `strongroom user disable --undo`.", user.name);
                confirm(yes, Undo::Possible, &text)?;
            }
            change(output, client, &user, &UserChange { disabled: Some(!undo), password: None }).await
        }
        UserCommand::Password { user, password_stdin } => {
            let user = find(client, &user).await?;
            let password = Some(new_password(password_stdin)?.to_string());
            change(output, client, &user, &UserChange { disabled: None, password }).await
        }
        UserCommand::Grant { grant } => set_roles(output, client, &grant, true).await,
        UserCommand::Revoke { grant } => set_roles(output, client, &grant, false).await,
        UserCommand::Token(command) => token::run(output, client, command).await,
    }
}

pub(super) async fn find(client: &Client, wanted: &str) -> Result<User> {
    let all: Vec<User> = client.all("/v1/users").await?;
    choose("user", all, wanted, |user| (user.name.clone(), user.id))
}

async fn change(output: &Output, client: &Client, user: &User, change: &UserChange) -> Result<()> {
    let path = format!("/v1/users/{}", user.id);
    let changed: Option<User> = client.send(Method::PATCH, &path, change).await?;
    let user = changed.context("the server told nothing of the user")?;
    output::print(output, &user, || table(std::slice::from_ref(&user), &[]))
}

/// All roles are written anew: the one that is meant is added, or left out.
async fn set_roles(output: &Output, client: &Client, grant: &GrantArgs, has: bool) -> Result<()> {
    let mut user = find(client, &grant.user).await?;
    let vaults: Vec<Vault> = client.all("/v1/vaults").await?;
    let vault = match &grant.vault.vault {
        Some(wanted) => Some(names::vault(client, Some(wanted)).await?.id),
        None => None,
    };
    let meant = RoleGrant { role: grant.role.role(), vault };
    let had = user.roles.contains(&meant);
    user.roles.retain(|role| *role != meant);
    if has {
        user.roles.push(meant);
    } else if !had {
        let what = format!("{} has no such role there", user.name);
        return Err(Told::not_found(what, "`strongroom user list` shows who has which"));
    }
    let path = format!("/v1/users/{}/roles", user.id);
    let changed: Option<User> = client.send(Method::PUT, &path, &Roles { roles: user.roles }).await?;
    let user = changed.context("the server told nothing of the user")?;
    output::print(output, &user, || table(std::slice::from_ref(&user), &vaults))
}

/// Asked for twice on the terminal, or the first line of standard input.
pub(crate) fn new_password(from_input: bool) -> Result<zeroize::Zeroizing<String>> {
    if from_input {
        return line_of_input();
    }
    if !std::io::stdin().is_terminal() {
        return Err(Told::usage("there is no terminal to ask for a password on", "add --password-stdin"));
    }
    let first =
        zeroize::Zeroizing::new(rpassword::prompt_password("New password (12 characters at least): ")?);
    let second = zeroize::Zeroizing::new(rpassword::prompt_password("Once more: ")?);
    ensure!(first == second, "the two are not the same");
    Ok(first)
}

fn table(all: &[User], vaults: &[Vault]) -> String {
    let rows = all.iter().map(|user| {
        let comes_by = match user {
            user if user.disabled => "disabled",
            user if user.single_sign_on => "single sign-on",
            user if user.has_password => "password",
            _ => "token",
        };
        let roles: Vec<_> = user.roles.iter().map(|role| role_in_words(role, vaults)).collect();
        let roles = super::words::or_dash(Some(roles.join(", ")));
        vec![
            user.name.clone(),
            comes_by.to_owned(),
            roles,
            output::instant(user.created),
            user.id.to_string(),
        ]
    });
    output::table(&["USER", "COMES BY", "ROLES", "SINCE", "ID"], &[], rows)
}

fn role_in_words(grant: &RoleGrant, vaults: &[Vault]) -> String {
    let role = word(&grant.role);
    match grant.vault {
        None => format!("{role} everywhere"),
        Some(id) => {
            let name = vaults.iter().find(|vault| vault.id == id).map(|vault| vault.name.clone());
            format!("{role} of {}", name.unwrap_or_else(|| id.to_string()))
        }
    }
}
