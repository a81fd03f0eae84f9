//! The first account: a platform operator, who makes tenants.

use anyhow::{Context, Result, bail};
use clap::Args;
use hotline_aws::{CognitoIdentity, SystemWorld};
use hotline_base::{TenantId, UserId};
use hotline_ports::{Account, Identity, IdentityError, World};
use hotline_wire::api::Role;

use crate::Target;
use crate::stack::{self, output};

/// Options of `operator`.
#[derive(Args, Debug)]
pub struct Options {
    #[command(flatten)]
    target: Target,
    /// The sign-in name: an e-mail address.
    #[arg(long)]
    name: String,
    /// At least ten characters with lower case, upper case and digits.
    #[arg(long, env = "HOTLINE_OPERATOR_PASSWORD", hide_env_values = true)]
    password: String,
}

/// Creates the account where it is missing, and proves that it can sign in.
pub async fn run(options: &Options) -> Result<()> {
    if !options.name.contains('@') {
        bail!("--name {}: write an e-mail address", options.name);
    }
    let sdk = options.target.sdk().await?;
    let outputs = stack::outputs(&sdk, &options.target.stack).await?;
    let identity = CognitoIdentity::new(&sdk, output(&outputs, "UserPool")?, output(&outputs, "UserPoolClient")?);
    let world = SystemWorld;
    let account = Account {
        name: options.name.clone(),
        tenant: TenantId::PLATFORM,
        role: Role::Operator,
        user: UserId::new(world.now(), world.random()),
    };
    identity.create(&account, &options.password).await.context("creating the operator")?;
    match identity.sign_in(&options.name, &options.password).await {
        Ok(_) => println!("{} can sign in", options.name),
        Err(IdentityError::Refused) => bail!(
            "{} exists with another password; reset it with\n  aws cognito-idp admin-set-user-password --permanent \
             --user-pool-id {} --username {} --password …",
            options.name,
            output(&outputs, "UserPool")?,
            options.name
        ),
        Err(error) => return Err(error).context("signing in as the operator"),
    }
    Ok(())
}
