//! Requests to the Kubernetes API: how it is found, and why it did not do what it was asked.

use std::env;
use std::error::Error as _;
use std::fmt;
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use rustls::crypto::CryptoProvider;

use crate::Error;

/// Longer messages of others (a proxy's page, say) are cut here, in characters.
const MOST_OF_A_MESSAGE: usize = 300;

/// Finds the cluster as kubectl does inside and outside of it: the file that `KUBECONFIG` names,
/// else the service account of the pod, else `~/.kube/config`.
///
/// What is found has kube's own retries switched off, of which there are up to 15 in one request:
/// whoever asks has a pace of its own.
///
/// Where the process has no default TLS provider of rustls, ring becomes it. kube takes no
/// provider as an argument; without a default it panics when rustls was built with more than one.
///
/// # Errors
///
/// [`Error::Invalid`] names each place that was looked at and what was wrong there.
pub(crate) async fn connect() -> Result<Client, Error> {
    if CryptoProvider::get_default().is_none() {
        // It fails only when somebody else was quicker, and then theirs is used.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
    let mut config = find().await.map_err(Error::Invalid)?;
    config.default_retry = false;
    let url = config.cluster_url.clone();
    let client = Client::try_from(config);
    client.map_err(|error| {
        Error::Invalid(format!(
            "the Kubernetes API at {url} cannot be used: {}",
            root(&error)
        ))
    })
}

async fn find() -> Result<Config, String> {
    let options = KubeConfigOptions::default();
    if let Some(path) = env::var_os("KUBECONFIG").filter(|path| !path.is_empty()) {
        // Whoever names a file means it: none of the other places is tried.
        let found = match Kubeconfig::read() {
            Ok(file) => Config::from_custom_kubeconfig(file, &options).await,
            Err(error) => Err(error),
        };
        return found.map_err(|error| {
            let why = one_line(&error.to_string());
            format!("KUBECONFIG names {path:?}, which cannot be used: {why}")
        });
    }
    let pod = match Config::incluster() {
        Ok(config) => return Ok(config),
        Err(error) => one_line(&error.to_string()),
    };
    let file = Config::from_kubeconfig(&options).await;
    file.map_err(|error| {
        let file = one_line(&error.to_string());
        format!(
            "no Kubernetes cluster is configured: not by the service account of a pod ({pod}), \
             not by KUBECONFIG (which is not set) and not by ~/.kube/config ({file})"
        )
    })
}

/// What is asked of the API, as its errors tell it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    /// As in a Role: get, list, watch, create, update, patch or delete.
    pub(crate) verb: &'static str,
    /// As in a Role, with its group: `services`, `endpointslices.discovery.k8s.io`.
    pub(crate) resource: &'static str,
    /// Of the one object that is asked for.
    pub(crate) name: Option<String>,
    pub(crate) namespace: String,
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.resource)?;
        if let Some(name) = &self.name {
            write!(f, " {name:?}")?;
        }
        write!(f, " in namespace {:?}", self.namespace)
    }
}

/// Why the API did not do what it was asked: one line.
#[derive(Clone, Debug, thiserror::Error)]
#[error("cannot {asked}: {why}")]
pub(crate) struct Failure {
    asked: Asked,
    why: String,
    /// Of HTTP, where the API answered at all.
    status: Option<u16>,
    retry_after: Option<Duration>,
}

impl Failure {
    /// Of another kind than an answer of the API.
    pub(crate) fn new(asked: &Asked, why: impl Into<String>) -> Self {
        Self {
            asked: asked.clone(),
            why: why.into(),
            status: None,
            retry_after: None,
        }
    }

    /// The status of HTTP, where there was an answer.
    pub(crate) fn status(&self) -> Option<u16> {
        self.status
    }

    /// Whether somebody has to act before asking again can help: what was asked is not permitted,
    /// does not exist or is not understood. Ask again, but slowly.
    pub(crate) fn needs_action(&self) -> bool {
        // Of the client errors, those that pass: slowness, conflicts, versions that are no more,
        // failed tests of a patch, and too much at once.
        matches!(self.status, Some(400..=499))
            && !matches!(self.status, Some(408 | 409 | 410 | 412 | 422 | 425 | 429))
    }

    /// How long the API wants to be left alone.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }
}

/// Makes a request, and says in one line why it failed. It is given up after `limit`, since
/// without one a request to a silent API never ends; whether it took effect is then not known.
pub(crate) async fn within<T>(
    limit: Duration,
    asked: &Asked,
    request: impl Future<Output = kube::Result<T>>,
) -> Result<T, Failure> {
    match tokio::time::timeout(limit, request).await {
        Ok(answer) => answer.map_err(|error| explain(&error, asked)),
        Err(_) => Err(Failure::new(
            asked,
            format!("the API does not answer within {limit:?}"),
        )),
    }
}

/// What an error means for whoever runs the program.
pub(crate) fn explain(error: &kube::Error, asked: &Asked) -> Failure {
    match error {
        kube::Error::Api(answer) => {
            let seconds = answer
                .details
                .as_ref()
                .map_or(0, |details| details.retry_after_seconds);
            Failure {
                asked: asked.clone(),
                why: meaning(answer, asked),
                status: Some(answer.code),
                retry_after: (seconds > 0).then(|| Duration::from_secs(seconds.into())),
            }
        }
        kube::Error::SerdeError(_) | kube::Error::FromUtf8(_) => Failure::new(
            asked,
            format!("the answer is not understood: {}", root(error)),
        ),
        kube::Error::Auth(_) => {
            Failure::new(asked, format!("there are no credentials: {}", root(error)))
        }
        _ => Failure::new(asked, format!("the API is not reached: {}", root(error))),
    }
}

fn meaning(answer: &kube::core::Status, asked: &Asked) -> String {
    let Asked { verb, resource, .. } = asked;
    let said = match one_line(&answer.message) {
        said if said.is_empty() => one_line(&answer.reason),
        said => said,
    };
    match answer.code {
        401 => format!("the API does not accept the credentials (401: {said})"),
        403 => format!("a Role must permit the verb {verb:?} on {resource:?} there (403: {said})"),
        404 => format!("it does not exist (404: {said})"),
        code => format!("the API answers {code}: {said}"),
    }
}

/// The innermost cause, which is what helps: the outer ones say "client error (Connect)".
fn root(error: &kube::Error) -> String {
    let mut cause = error.source();
    while let Some(inner) = cause.and_then(|cause| cause.source()) {
        cause = Some(inner);
    }
    one_line(&cause.map_or_else(|| error.to_string(), ToString::to_string))
}

fn one_line(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let line = words.join(" ");
    match line.char_indices().nth(MOST_OF_A_MESSAGE) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::Status;

    fn asked(name: Option<&str>) -> Asked {
        Asked {
            verb: "list",
            resource: "endpointslices.discovery.k8s.io",
            name: name.map(Into::into),
            namespace: "flock".into(),
        }
    }

    fn answer(code: u16, message: &str, reason: &str) -> Failure {
        let status = Status::failure(message, reason).with_code(code);
        explain(&kube::Error::Api(status.boxed()), &asked(None))
    }

    #[test]
    fn each_answer_says_what_to_do_in_one_line() {
        let what = "cannot list endpointslices.discovery.k8s.io in namespace \"flock\"";
        for (code, message, reason, why, needs_action) in [
            (
                401,
                "Unauthorized",
                "Unauthorized",
                "the API does not accept the credentials (401: Unauthorized)",
                true,
            ),
            (
                403,
                "User \"shaun\" cannot",
                "Forbidden",
                "a Role must permit the verb \"list\" on \"endpointslices.discovery.k8s.io\" there \
                 (403: User \"shaun\" cannot)",
                true,
            ),
            (
                404,
                "",
                "NotFound",
                "it does not exist (404: NotFound)",
                true,
            ),
            (
                410,
                "too old",
                "Expired",
                "the API answers 410: too old",
                false,
            ),
            (
                429,
                "later",
                "TooManyRequests",
                "the API answers 429: later",
                false,
            ),
            (
                503,
                "<html>\n <p>gone</p>",
                "",
                "the API answers 503: <html> <p>gone</p>",
                false,
            ),
        ] {
            let failure = answer(code, message, reason);
            assert_eq!(failure.to_string(), format!("{what}: {why}"));
            assert_eq!(failure.needs_action(), needs_action, "{code}");
            assert_eq!(failure.status(), Some(code));
        }
        let long = answer(500, &"ä".repeat(10_000), "").to_string();
        assert!(long.chars().count() < 500, "{long}");
        assert!(asked(Some("redis")).to_string().contains(" \"redis\" in "));
    }

    #[test]
    fn the_api_may_ask_for_a_pause() {
        let status: Status = serde_json::from_value(serde_json::json!({
            "code": 429,
            "details": { "retryAfterSeconds": 7 },
        }))
        .unwrap();
        let failure = explain(&kube::Error::Api(status.boxed()), &asked(None));
        assert_eq!(failure.retry_after(), Some(Duration::from_secs(7)));
        assert_eq!(answer(429, "", "").retry_after(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_not_waited_for_for_ever() {
        let limit = Duration::from_secs(5);
        let request = std::future::pending::<kube::Result<()>>();
        let failure = within(limit, &asked(None), request).await.unwrap_err();
        assert!(
            failure
                .to_string()
                .ends_with(": the API does not answer within 5s")
        );
        assert!(!failure.needs_action());
        assert_eq!(failure.status(), None);
    }

    #[test]
    fn of_a_lost_connection_the_innermost_cause_is_told() {
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        let outer = std::io::Error::other(refused);
        let error = kube::Error::Service(Box::new(outer));
        let failure = explain(&error, &asked(None));
        assert!(
            failure
                .to_string()
                .ends_with("the API is not reached: connection refused"),
            "{failure}"
        );
    }
}
