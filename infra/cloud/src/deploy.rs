//! Creates or updates the stack from the template and the functions' zip.

use anyhow::{Context, Result, bail};
use aws_sdk_cloudformation::Client;
use aws_sdk_cloudformation::error::ProvideErrorMetadata;
use aws_sdk_cloudformation::types::{Capability, Parameter, Stack};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{BucketLocationConstraint, CreateBucketConfiguration, PublicAccessBlockConfiguration};
use clap::Args;
use hotline_aws::Sdk;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::Target;
use crate::stack::{self, Watch, explain};

/// The longest template that travels inside the request, in bytes.
const INLINE_TEMPLATE: usize = 51_200;
/// The parameter that holds the hash of all that was deployed. (A tag of the stack would be
/// copied to every resource and so change every resource at every deployment.)
const DEPLOYED: &str = "Deployment";

/// Options of `deploy`.
#[derive(Args, Debug)]
pub struct Options {
    #[command(flatten)]
    target: Target,
    /// The template.
    #[arg(long, default_value = "infra/template.yaml")]
    template: PathBuf,
    /// The functions' zip, from `package`.
    #[arg(long)]
    zip: PathBuf,
    /// The media node's zip, from `package --name media-node`; needed with WithNodes=true.
    #[arg(long)]
    node_zip: Option<PathBuf>,
    /// A parameter of the template; those not given keep their value.
    #[arg(long = "param", value_name = "KEY=VALUE", value_parser = pair)]
    params: Vec<(String, String)>,
    /// Write the outputs to this file as JSON instead of printing them.
    #[arg(long)]
    outputs: Option<PathBuf>,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write KEY=VALUE")?;
    Ok((key.into(), value.into()))
}

/// Deploys, waits and hands out the outputs.
pub async fn run(options: &Options) -> Result<()> {
    let sdk = options.target.sdk().await?;
    let client = Client::new(sdk.config());
    let name = &options.target.stack;
    let template =
        std::fs::read_to_string(&options.template).with_context(|| options.template.display().to_string())?;
    let zip = read(&options.zip)?;

    let bucket = code_bucket(&sdk).await?;
    let mut params: BTreeMap<String, String> = options.params.iter().cloned().collect();
    params.insert("CodeKey".into(), upload(&sdk, &bucket, "functions", &zip).await?);
    params.insert("CodeBucket".into(), bucket.clone());
    if let Some(file) = &options.node_zip {
        params.insert("NodeKey".into(), upload(&sdk, &bucket, "media-node", &read(file)?).await?);
    } else if params.get("WithNodes").is_some_and(|v| v == "true") && !params.contains_key("NodeKey") {
        bail!("WithNodes=true needs --node-zip (hotline-cloud package --name media-node --binary …)");
    }
    let fingerprint = fingerprint(&template, &params);

    let mut existing = settle(&client, &sdk, name).await?;
    if let Some(stack) = &existing
        && stack
            .parameters()
            .iter()
            .any(|p| p.parameter_key() == Some(DEPLOYED) && p.parameter_value() == Some(&fingerprint))
        && matches!(stack::status(stack), "CREATE_COMPLETE" | "UPDATE_COMPLETE")
    {
        hand_out(options, &sdk).await?;
        println!("unchanged");
        return Ok(());
    }
    let source = if template.len() > INLINE_TEMPLATE {
        Source::Url(upload_template(&sdk, &bucket, &template).await?)
    } else {
        Source::Body(template)
    };
    params.insert(DEPLOYED.into(), fingerprint);
    let verb = match existing.take() {
        None => {
            create(&client, &sdk, name, source, parameters(&params, None)).await?;
            "created"
        }
        Some(stack) => {
            if update(&client, &sdk, name, source, parameters(&params, Some(&stack))).await? {
                "updated"
            } else {
                "unchanged"
            }
        }
    };
    hand_out(options, &sdk).await?;
    println!("{verb}");
    Ok(())
}

fn read(file: &std::path::Path) -> Result<Vec<u8>> {
    let bytes =
        std::fs::read(file).with_context(|| format!("{}: make it with `hotline-cloud package`", file.display()))?;
    if bytes.get(..2) != Some(b"PK") {
        bail!("{} is not a zip: make it with `hotline-cloud package`", file.display());
    }
    Ok(bytes)
}

async fn hand_out(options: &Options, sdk: &Sdk) -> Result<()> {
    let text = serde_json::to_string_pretty(&stack::outputs(sdk, &options.target.stack).await?)?;
    match &options.outputs {
        Some(file) => std::fs::write(file, text + "\n").with_context(|| file.display().to_string())?,
        None => println!("{text}"),
    }
    Ok(())
}

fn fingerprint(template: &str, params: &BTreeMap<String, String>) -> String {
    let mut hash = Sha256::new();
    hash.update(template);
    for (key, value) in params {
        hash.update(format!("\0{key}\0{value}"));
    }
    hex::encode(hash.finalize())
}

/// The deployment's bucket of this account and region; made where it is missing.
async fn code_bucket(sdk: &Sdk) -> Result<String> {
    let identity = aws_sdk_sts::Client::new(sdk.config()).get_caller_identity().send().await;
    let identity = identity.map_err(|e| explain(&e))?;
    let account = identity.account().context("no account id")?;
    let region = sdk.config().region().context("no region")?.to_string();
    let bucket = format!("hotline-code-{account}-{region}");
    let s3 = s3(sdk);
    if s3.head_bucket().bucket(&bucket).send().await.is_ok() {
        return Ok(bucket);
    }
    let mut request = s3.create_bucket().bucket(&bucket);
    if region != "us-east-1" {
        let place = BucketLocationConstraint::from(region.as_str());
        request = request
            .create_bucket_configuration(CreateBucketConfiguration::builder().location_constraint(place).build());
    }
    request.send().await.map_err(|e| explain(&e))?;
    let block = PublicAccessBlockConfiguration::builder()
        .block_public_acls(true)
        .block_public_policy(true)
        .ignore_public_acls(true)
        .restrict_public_buckets(true)
        .build();
    let request = s3.put_public_access_block().bucket(&bucket).public_access_block_configuration(block);
    request.send().await.map_err(|e| explain(&e))?;
    Ok(bucket)
}

fn s3(sdk: &Sdk) -> aws_sdk_s3::Client {
    let config = aws_sdk_s3::config::Builder::from(sdk.config())
        .force_path_style(sdk.is_local())
        .timeout_config(aws_sdk_s3::config::timeout::TimeoutConfig::disabled())
        .build();
    aws_sdk_s3::Client::from_conf(config)
}

/// Uploads a zip under the hash of its content, unless it is there, and returns the key.
async fn upload(sdk: &Sdk, bucket: &str, kind: &str, zip: &[u8]) -> Result<String> {
    let key = format!("{kind}/{}.zip", hex::encode(&Sha256::digest(zip)[..16]));
    let s3 = s3(sdk);
    if s3.head_object().bucket(bucket).key(&key).send().await.is_err() {
        println!("  uploading {:.1} MB to {bucket}", zip.len() as f64 / 1e6);
        let request = s3.put_object().bucket(bucket).key(&key).body(ByteStream::from(zip.to_vec()));
        request.send().await.map_err(|e| explain(&e))?;
    }
    Ok(key)
}

async fn upload_template(sdk: &Sdk, bucket: &str, template: &str) -> Result<String> {
    let key = format!("templates/{}.yaml", hex::encode(&Sha256::digest(template)[..16]));
    let request = s3(sdk).put_object().bucket(bucket).key(&key).body(ByteStream::from(template.as_bytes().to_vec()));
    request.send().await.map_err(|e| explain(&e))?;
    Ok(match sdk.config().endpoint_url() {
        Some(endpoint) => format!("{}/{bucket}/{key}", endpoint.trim_end_matches('/')),
        None => format!("https://{bucket}.s3.{}.amazonaws.com/{key}", sdk.config().region().context("no region")?),
    })
}

/// Where CloudFormation reads the template.
enum Source {
    Body(String),
    Url(String),
}

impl Source {
    fn split(self) -> (Option<String>, Option<String>) {
        match self {
            Source::Body(body) => (Some(body), None),
            Source::Url(url) => (None, Some(url)),
        }
    }
}

fn parameters(params: &BTreeMap<String, String>, stack: Option<&Stack>) -> Vec<Parameter> {
    let given = params.iter().map(|(k, v)| Parameter::builder().parameter_key(k).parameter_value(v).build());
    let kept = stack.map(Stack::parameters).unwrap_or_default().iter().filter_map(|p| p.parameter_key());
    let kept = kept
        .filter(|key| !params.contains_key(*key))
        .map(|key| Parameter::builder().parameter_key(key).use_previous_value(true).build());
    given.chain(kept).collect()
}

const CAPABILITIES: [Capability; 3] =
    [Capability::CapabilityIam, Capability::CapabilityNamedIam, Capability::CapabilityAutoExpand];

/// Waits for a change that is under way and clears away what a failed creation left.
async fn settle(client: &Client, sdk: &Sdk, name: &str) -> Result<Option<Stack>> {
    let Some(stack) = stack::describe(client, name).await? else { return Ok(None) };
    let id = stack.stack_id().unwrap_or(name).to_string();
    if stack::status(&stack).ends_with("_IN_PROGRESS") {
        println!("  another change is under way ({}); waiting", stack::status(&stack));
        let at_rest =
            ["CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE", "ROLLBACK_COMPLETE", "DELETE_COMPLETE"];
        Watch::start(client, &id, sdk.is_local(), true).await?.finish(&at_rest).await?;
    }
    let Some(stack) = stack::describe(client, name).await? else { return Ok(None) };
    match stack::status(&stack) {
        "ROLLBACK_COMPLETE" | "ROLLBACK_FAILED" | "CREATE_FAILED" | "DELETE_FAILED" => {
            println!("  removing what a failed attempt left");
            client.delete_stack().stack_name(&id).send().await.map_err(|e| explain(&e))?;
            Watch::start(client, &id, sdk.is_local(), true).await?.finish(&["DELETE_COMPLETE"]).await?;
            Ok(None)
        }
        _ => Ok(Some(stack)),
    }
}

async fn create(client: &Client, sdk: &Sdk, name: &str, source: Source, parameters: Vec<Parameter>) -> Result<()> {
    let (body, url) = source.split();
    let answer = client
        .create_stack()
        .stack_name(name)
        .set_template_body(body)
        .set_template_url(url)
        .set_parameters(Some(parameters))
        .set_capabilities(Some(CAPABILITIES.to_vec()))
        .send()
        .await
        .map_err(|e| explain(&e))?;
    let id = answer.stack_id().unwrap_or(name).to_string();
    Watch::start(client, &id, sdk.is_local(), false).await?.finish(&["CREATE_COMPLETE"]).await?;
    Ok(())
}

/// `false`: CloudFormation found nothing to change.
async fn update(client: &Client, sdk: &Sdk, name: &str, source: Source, parameters: Vec<Parameter>) -> Result<bool> {
    let (body, url) = source.split();
    let id = stack::describe(client, name).await?.and_then(|s| s.stack_id).unwrap_or_else(|| name.into());
    let watch = Watch::start(client, &id, sdk.is_local(), true).await?;
    let request = client
        .update_stack()
        .stack_name(name)
        .set_template_body(body)
        .set_template_url(url)
        .set_parameters(Some(parameters))
        .set_capabilities(Some(CAPABILITIES.to_vec()));
    if let Err(error) = request.send().await {
        let said = error.as_service_error().and_then(ProvideErrorMetadata::message).unwrap_or("");
        if said.contains("No updates are to be performed") {
            return Ok(false);
        }
        return Err(explain(&error));
    }
    watch.finish(&["UPDATE_COMPLETE"]).await?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_given_keeps_its_value() {
        let stack = Stack::builder()
            .parameters(Parameter::builder().parameter_key("Stage").parameter_value("live").build())
            .parameters(Parameter::builder().parameter_key("CodeKey").parameter_value("old").build())
            .build();
        let given = BTreeMap::from([("CodeKey".to_string(), "new".to_string())]);
        let all = parameters(&given, Some(&stack));
        assert_eq!(all.len(), 2);
        assert_eq!((all[0].parameter_key(), all[0].parameter_value()), (Some("CodeKey"), Some("new")));
        assert_eq!((all[1].parameter_key(), all[1].use_previous_value()), (Some("Stage"), Some(true)));
    }

    #[test]
    fn every_parameter_counts_for_the_fingerprint() {
        let of = |pairs: &[(&str, &str)]| {
            fingerprint("t", &pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect())
        };
        assert_ne!(of(&[("a", "1")]), of(&[("a", "2")]));
        assert_ne!(of(&[("a", "1")]), of(&[("a", "1"), ("b", "")]));
    }
}
