//! Removes the stack; tables, buckets and accounts stay unless they are asked for.

use anyhow::{Result, bail};
use aws_sdk_cloudformation::Client;
use aws_sdk_s3::types::{Delete, ObjectIdentifier};
use clap::Args;
use hotline_aws::Sdk;

use crate::Target;
use crate::stack::{self, Watch, explain};

/// Options of `destroy`.
#[derive(Args, Debug)]
pub struct Options {
    #[command(flatten)]
    target: Target,
    /// Also remove tables, recordings, prompts and accounts, for good.
    #[arg(long)]
    with_data: bool,
    /// Do not ask for the stack's name.
    #[arg(long)]
    yes: bool,
}

/// Deletes the stack and, where asked, what it retains.
pub async fn run(options: &Options) -> Result<()> {
    let sdk = options.target.sdk().await?;
    let client = Client::new(sdk.config());
    let name = &options.target.stack;
    let Some(found) = stack::describe(&client, name).await? else {
        println!("there is no stack {name}");
        return Ok(());
    };
    if !options.yes {
        println!("Type the stack's name to remove {name}{}:", if options.with_data { " AND ALL ITS DATA" } else { "" });
        let mut line = String::new();
        std::io::stdin().read_line(&mut line)?;
        if line.trim() != name {
            bail!("nothing was removed");
        }
    }
    let outputs = stack::outputs(&sdk, name).await?;
    let id = found.stack_id().unwrap_or(name).to_string();
    client.delete_stack().stack_name(&id).send().await.map_err(|e| explain(&e))?;
    Watch::start(&client, &id, sdk.is_local(), true).await?.finish(&["DELETE_COMPLETE"]).await?;
    let kept =
        ["StateTable", "FactsTable", "TimersTable", "OutboxTable", "RecordingsBucket", "PromptsBucket", "UserPool"];
    for key in kept {
        let Some(value) = outputs.get(key) else { continue };
        if !options.with_data {
            println!("  kept: {key} {value}");
            continue;
        }
        let gone = match key {
            "UserPool" => drop_pool(&sdk, value).await,
            key if key.ends_with("Bucket") => drop_bucket(&sdk, value).await,
            _ => drop_table(&sdk, value).await,
        };
        match gone {
            Ok(()) => println!("  removed: {key} {value}"),
            Err(error) => println!("  still there: {key} {value}: {error:#}"),
        }
    }
    Ok(())
}

async fn drop_table(sdk: &Sdk, name: &str) -> Result<()> {
    let client = aws_sdk_dynamodb::Client::new(sdk.config());
    client.delete_table().table_name(name).send().await.map_err(|e| explain(&e))?;
    Ok(())
}

async fn drop_pool(sdk: &Sdk, id: &str) -> Result<()> {
    let client = aws_sdk_cognitoidentityprovider::Client::new(sdk.config());
    client.delete_user_pool().user_pool_id(id).send().await.map_err(|e| explain(&e))?;
    Ok(())
}

async fn drop_bucket(sdk: &Sdk, name: &str) -> Result<()> {
    let config = aws_sdk_s3::config::Builder::from(sdk.config()).force_path_style(sdk.is_local()).build();
    let s3 = aws_sdk_s3::Client::from_conf(config);
    loop {
        let page = s3.list_object_versions().bucket(name).send().await.map_err(|e| explain(&e))?;
        let versions = page.versions().iter().map(|v| (v.key(), v.version_id()));
        let markers = page.delete_markers().iter().map(|m| (m.key(), m.version_id()));
        let mut ids = Vec::new();
        for (key, version) in versions.chain(markers) {
            ids.push(
                ObjectIdentifier::builder()
                    .key(key.unwrap_or_default())
                    .set_version_id(version.map(String::from))
                    .build()?,
            );
        }
        if ids.is_empty() {
            break;
        }
        let answer =
            s3.delete_objects().bucket(name).delete(Delete::builder().set_objects(Some(ids)).quiet(true).build()?);
        let answer = answer.send().await.map_err(|e| explain(&e))?;
        if let Some(error) = answer.errors().first() {
            bail!("{}: {}", error.key().unwrap_or("?"), error.message().unwrap_or("not deleted"));
        }
    }
    s3.delete_bucket().bucket(name).send().await.map_err(|e| explain(&e))?;
    Ok(())
}
