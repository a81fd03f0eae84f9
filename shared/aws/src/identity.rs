//! Accounts and sign-in on Cognito.

use async_trait::async_trait;
use aws_sdk_cognitoidentityprovider::Client;
use aws_sdk_cognitoidentityprovider::config::http::HttpResponse;
use aws_sdk_cognitoidentityprovider::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_cognitoidentityprovider::operation::initiate_auth::InitiateAuthOutput;
use aws_sdk_cognitoidentityprovider::types::{AttributeType, AuthFlowType, MessageActionType};
use hotline_ports::{Account, Fault, Identity, IdentityError, Tokens};

use crate::Sdk;
use crate::error::{code, fault};

const PART: &str = "the identity provider";

/// One Cognito user pool and its app client.
#[derive(Debug, Clone)]
pub struct CognitoIdentity {
    client: Client,
    pool: String,
    app: String,
}

impl CognitoIdentity {
    /// Over a user pool and one of its app clients (without a secret).
    pub fn new(sdk: &Sdk, pool: &str, app: &str) -> Self {
        Self { client: Client::new(sdk.config()), pool: pool.into(), app: app.into() }
    }

    async fn set_password(&self, name: &str, password: &str) -> Result<(), IdentityError> {
        let request = self.client.admin_set_user_password().user_pool_id(&self.pool);
        let request = request.username(name).password(password).permanent(true);
        request.send().await.map_err(|e| identity(&e))?;
        Ok(())
    }

    /// An account of that name exists. A repeat of the same creation may have died before it
    /// set the password: then it is set now. An account that can sign in is left as it is.
    async fn adopt(&self, account: &Account, password: &str) -> Result<String, IdentityError> {
        let request = self.client.admin_get_user().user_pool_id(&self.pool).username(&account.name);
        let answer = request.send().await.map_err(|e| identity(&e))?;
        let user = account.user.to_string();
        let same = answer.user_attributes().iter().any(|a| a.name() == "custom:user" && a.value() == Some(&user));
        let unfinished = answer.user_status().is_some_and(|s| s.as_str() == "FORCE_CHANGE_PASSWORD");
        if same && unfinished {
            self.set_password(&account.name, password).await?;
        }
        subject(answer.user_attributes())
    }
}

fn attribute(name: &str, value: impl Into<String>) -> Result<AttributeType, Fault> {
    AttributeType::builder().name(name).value(value).build().map_err(|e| Fault::permanent(PART, e))
}

fn subject(attributes: &[AttributeType]) -> Result<String, IdentityError> {
    let found = attributes.iter().find(|a| a.name() == "sub").and_then(AttributeType::value);
    Ok(found.ok_or_else(|| Fault::permanent(PART, "an account without a subject"))?.into())
}

/// Which of our errors an SDK error is.
fn identity<E>(error: &SdkError<E, HttpResponse>) -> IdentityError
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    let message = || error.as_service_error().and_then(ProvideErrorMetadata::message).unwrap_or("").to_string();
    match code(error) {
        Some("NotAuthorizedException" | "UserNotFoundException" | "UserNotConfirmedException") => {
            IdentityError::Refused
        }
        Some("InvalidPasswordException") => IdentityError::WeakPassword(message()),
        // Cognito says so where the text is too short or long for its own pattern.
        Some("InvalidParameterException") if message().to_lowercase().contains("password") => {
            IdentityError::WeakPassword(message())
        }
        Some("TooManyRequestsException" | "TooManyFailedAttemptsException" | "LimitExceededException") => {
            IdentityError::Throttled
        }
        _ => IdentityError::Fault(fault(PART, error)),
    }
}

fn tokens(answer: InitiateAuthOutput) -> Result<Tokens, IdentityError> {
    // A challenge (a new password, a second factor) instead of tokens: this account cannot
    // sign in with name and password alone.
    let result = answer.authentication_result.ok_or(IdentityError::Refused)?;
    let expires_in_s = u32::try_from(result.expires_in).unwrap_or(0);
    let id_token = result.id_token.ok_or_else(|| Fault::permanent(PART, "no id token in the answer"))?;
    Ok(Tokens { id_token, refresh_token: result.refresh_token, expires_in_s })
}

#[async_trait]
impl Identity for CognitoIdentity {
    async fn create(&self, account: &Account, password: &str) -> Result<String, IdentityError> {
        let role = serde_json::to_value(account.role).ok().and_then(|v| v.as_str().map(String::from));
        let role = role.ok_or_else(|| Fault::permanent(PART, "the role has no name"))?;
        let request = self
            .client
            .admin_create_user()
            .user_pool_id(&self.pool)
            .username(&account.name)
            .message_action(MessageActionType::Suppress)
            .user_attributes(attribute("email", &account.name)?)
            .user_attributes(attribute("email_verified", "true")?)
            .user_attributes(attribute("custom:tenant", account.tenant.to_string())?)
            .user_attributes(attribute("custom:role", role)?)
            .user_attributes(attribute("custom:user", account.user.to_string())?);
        let sub = match request.send().await {
            Ok(answer) => {
                let user = answer.user().ok_or_else(|| Fault::permanent(PART, "no user in the answer"))?;
                subject(user.attributes())?
            }
            Err(error) if code(&error) == Some("UsernameExistsException") => {
                return self.adopt(account, password).await;
            }
            Err(error) => return Err(identity(&error)),
        };
        if let Err(error) = self.set_password(&account.name, password).await {
            // Without a password nobody can sign in, and the name would stay taken.
            let undo = self.client.admin_delete_user().user_pool_id(&self.pool).username(&account.name);
            if let Err(error) = undo.send().await {
                tracing::warn!(error = %fault(PART, &error), "an account without a password stays behind");
            }
            return Err(error);
        }
        Ok(sub)
    }

    async fn sign_in(&self, name: &str, password: &str) -> Result<Tokens, IdentityError> {
        let request = self
            .client
            .initiate_auth()
            .client_id(&self.app)
            .auth_flow(AuthFlowType::UserPasswordAuth)
            .auth_parameters("USERNAME", name)
            .auth_parameters("PASSWORD", password);
        let answer = request.send().await.map_err(|e| match code(&e) {
            Some("InvalidParameterException") => IdentityError::Refused,
            _ => identity(&e),
        })?;
        tokens(answer)
    }

    async fn refresh(&self, refresh_token: &str) -> Result<Tokens, IdentityError> {
        let request = self
            .client
            .initiate_auth()
            .client_id(&self.app)
            .auth_flow(AuthFlowType::RefreshTokenAuth)
            .auth_parameters("REFRESH_TOKEN", refresh_token);
        let answer = request.send().await.map_err(|e| match code(&e) {
            Some("InvalidParameterException") => IdentityError::Refused,
            _ => identity(&e),
        })?;
        tokens(answer)
    }

    async fn disable(&self, name: &str) -> Result<(), IdentityError> {
        let request = self.client.admin_disable_user().user_pool_id(&self.pool).username(name);
        request.send().await.map_err(|e| identity(&e))?;
        // Ends the sessions too: a refresh token would outlive the account by weeks.
        let request = self.client.admin_user_global_sign_out().user_pool_id(&self.pool).username(name);
        request.send().await.map_err(|e| identity(&e))?;
        Ok(())
    }
}
