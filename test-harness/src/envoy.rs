//! A real Envoy.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tempfile::TempDir;

use crate::process::{Process, Streams};
use crate::tools::Tools;

/// A running Envoy. It ends when this is dropped.
#[derive(Debug)]
pub struct Envoy {
    process: Process,
    admin: String,
    http: reqwest::Client,
    config_path: PathBuf,
    _dir: TempDir,
}

/// How Envoy is to run.
#[derive(Clone, Debug)]
pub struct EnvoyConfig {
    /// The bootstrap configuration, YAML or JSON. It must have `admin.address` on 127.0.0.1 with a port of its own,
    /// as those of [`crate::envoy_config::Config`] have.
    pub config: String,
    /// Worker threads. Each has its own VM of the filter.
    pub concurrency: u32,
    /// Variables added to its environment: those that `host_env_keys` names.
    pub env: Vec<(String, String)>,
    /// `trace`, `debug`, `info`, `warning`, `error` or `off`, for everything but wasm, which logs from `debug` on.
    pub log_level: String,
}

impl EnvoyConfig {
    /// Two workers, logging from `info` on.
    pub fn new(config: impl Into<String>) -> Self {
        Self { config: config.into(), concurrency: 2, env: Vec::new(), log_level: "info".to_owned() }
    }

    /// Another number of workers.
    #[must_use]
    pub fn concurrency(mut self, workers: u32) -> Self {
        self.concurrency = workers;
        self
    }

    /// An environment variable more.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }
}

impl Envoy {
    /// Starts Envoy and waits until it says that it is ready: all listeners are up, all filters configured.
    ///
    /// # Errors
    /// If it refuses the configuration, with its log, or is not ready within 60 s.
    pub async fn start(tools: &Tools, config: EnvoyConfig) -> Result<Self> {
        let mut envoy = Self::spawn(tools, &config, "serve")?;
        let (http, ready) = (envoy.http.clone(), format!("{}/ready", envoy.admin));
        envoy
            .process
            .wait_until(Duration::from_secs(60), || async {
                http.get(&ready).send().await.ok().filter(|response| response.status() == 200)
            })
            .await?;
        Ok(envoy)
    }

    /// Starts Envoy with a configuration that it is expected to refuse, waits until it has ended, and gives its log.
    ///
    /// # Errors
    /// If it becomes ready, or ends well, or neither within 60 s.
    pub async fn expect_refused(tools: &Tools, config: EnvoyConfig) -> Result<String> {
        let mut envoy = Self::spawn(tools, &config, "serve")?;
        let limit = Duration::from_secs(60);
        let (http, ready) = (envoy.http.clone(), format!("{}/ready", envoy.admin));
        let serves = crate::process::wait_for("Envoy to serve", limit, || async {
            http.get(&ready).send().await.ok().filter(|response| response.status() == 200)
        });
        tokio::select! {
            status = envoy.process.wait_exit(limit) => {
                if status?.success() {
                    bail!("Envoy ended well instead of refusing its configuration\n{}", envoy.process.log_tail(40));
                }
            }
            Ok(_) = serves => bail!("Envoy serves with a configuration that it should have refused"),
        }
        envoy.log()
    }

    /// Has Envoy check a configuration without serving (`--mode validate`): whether it is good, and the log.
    ///
    /// # Errors
    /// If Envoy does not end within 60 s.
    pub async fn validate(tools: &Tools, config: EnvoyConfig) -> Result<(bool, String)> {
        let mut envoy = Self::spawn(tools, &config, "validate")?;
        let status = envoy.process.wait_exit(Duration::from_secs(60)).await?;
        Ok((status.success(), envoy.log()?))
    }

    fn spawn(tools: &Tools, config: &EnvoyConfig, mode: &str) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("farebox-envoy-").tempdir()?;
        let admin = format!("http://127.0.0.1:{}", admin_port(&config.config)?);
        // JSON is YAML, so one name serves both.
        let config_path = dir.path().join("envoy.yaml");
        std::fs::write(&config_path, &config.config)?;
        let mut command = Command::new(tools.envoy());
        command.arg("--config-path").arg(&config_path);
        command.args(["--mode", mode, "--concurrency", &config.concurrency.to_string()]);
        command.args(["--log-level", &config.log_level, "--component-log-level", "wasm:debug"]);
        // No shared memory with other Envoys of this machine, and access logs at once.
        command.args(["--disable-hot-restart", "--file-flush-interval-msec", "20", "--file-flush-min-size-kb", "1"]);
        command.args(["--drain-time-s", "1", "--parent-shutdown-time-s", "2"]);
        command.envs(config.env.iter().map(|(name, value)| (name, value)));
        command.current_dir(dir.path());
        let process = Process::spawn("Envoy", command, &dir.path().join("envoy.log"), Streams::Log)?;
        Ok(Self { process, admin, http: crate::http::client(), config_path, _dir: dir })
    }

    /// The base URL of the admin interface.
    pub fn admin_url(&self) -> &str {
        &self.admin
    }

    /// The file that holds the configuration.
    pub fn config_path(&self) -> &std::path::Path {
        &self.config_path
    }

    /// Everything that Envoy and its filters have logged.
    ///
    /// # Errors
    /// If the log cannot be read.
    pub fn log(&self) -> Result<String> {
        self.process.log()
    }

    /// `GET`s a path of the admin interface, for example `/config_dump`.
    ///
    /// # Errors
    /// If the answer is not a 200.
    pub async fn admin(&self, path: &str) -> Result<String> {
        Ok(self.http.get(format!("{}{path}", self.admin)).send().await?.error_for_status()?.text().await?)
    }

    /// Counters and gauges by name, without histograms.
    ///
    /// # Errors
    /// If the admin interface does not answer.
    pub async fn stats(&self) -> Result<BTreeMap<String, u64>> {
        let text = self.admin("/stats").await?;
        Ok(text
            .lines()
            .filter_map(|line| line.rsplit_once(": "))
            .filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?)))
            .collect())
    }

    /// One counter or gauge; 0 if it does not exist (yet).
    ///
    /// # Errors
    /// If the admin interface does not answer.
    pub async fn stat(&self, name: &str) -> Result<u64> {
        Ok(self.stats().await?.get(name).copied().unwrap_or(0))
    }

    /// How many connections each worker has accepted on the listener with this port, the first worker
    /// first: whether all took part in something.
    ///
    /// # Errors
    /// If the admin interface does not answer.
    pub async fn connections_by_worker(&self, listener_port: u16) -> Result<Vec<u64>> {
        let prefix = format!("listener.127.0.0.1_{listener_port}.worker_");
        let mut workers: Vec<(u32, u64)> = Vec::new();
        for (name, count) in self.stats().await? {
            let worker = name.strip_prefix(&prefix).and_then(|rest| rest.strip_suffix(".downstream_cx_total"));
            if let Some(worker) = worker {
                workers.push((worker.parse()?, count));
            }
        }
        workers.sort_unstable();
        Ok(workers.into_iter().map(|(_, count)| count).collect())
    }

    /// The statistics in Prometheus' text format.
    ///
    /// # Errors
    /// If the admin interface does not answer.
    pub async fn prometheus(&self) -> Result<String> {
        self.admin("/stats/prometheus").await
    }

    /// The process, for its id and for signals.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Stops it in order, and kills it after 5 s.
    ///
    /// # Errors
    /// If the system cannot tell how it ended.
    pub async fn stop(self) -> Result<()> {
        self.process.stop(Duration::from_secs(5)).await
    }
}

/// Finds the admin port in a bootstrap configuration: in JSON by its path, in YAML as the first `port_value` after
/// `admin:`.
fn admin_port(config: &str) -> Result<u16> {
    let port = match serde_json::from_str::<Value>(config) {
        Ok(json) => json.pointer("/admin/address/socket_address/port_value").and_then(Value::as_u64),
        Err(_) => config
            .split_once("admin:")
            .and_then(|(_, admin)| admin.split_once("port_value:"))
            .map(|(_, rest)| rest.trim_start().chars().take_while(char::is_ascii_digit).collect::<String>())
            .and_then(|digits| digits.parse().ok()),
    };
    u16::try_from(port.context("the configuration has no admin.address.socket_address.port_value")?)
        .context("the admin port is no port")
}

#[cfg(test)]
mod tests {
    use super::admin_port;

    #[test]
    fn the_admin_port_is_found_in_yaml_and_json() {
        let yaml = "node: {id: x}\nadmin:\n  address:\n    socket_address: { address: 127.0.0.1, port_value: 9901 }\n";
        assert_eq!(admin_port(yaml).unwrap(), 9901);
        let json = r#"{"admin":{"address":{"socket_address":{"address":"127.0.0.1","port_value":9902}}}}"#;
        assert_eq!(admin_port(json).unwrap(), 9902);
        assert!(admin_port("static_resources: {}").is_err());
    }
}
