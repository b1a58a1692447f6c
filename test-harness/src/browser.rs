//! A real browser, what drives it, and the page of `examples/browser-agent`.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::package::{Package, copy_dir};
use crate::tools::{
    Tools, WorkerTools, copy_scripts, ensure_packages, find_binary, harness_dir, lock, run, workspace_dir,
};

/// Chromium, and the npm packages that drive it. Installed apart from the rest: only pages need them.
#[derive(Clone, Debug)]
pub struct BrowserTools {
    dir: PathBuf,
    chromium: PathBuf,
}

impl BrowserTools {
    /// The browser.
    pub fn chromium(&self) -> &Path {
        &self.chromium
    }

    /// A command that runs one of the scripts of `test-harness/browser/`.
    pub fn script(&self, name: &str) -> Command {
        let mut command = Command::new("node");
        command.arg(self.dir.join(name)).env("CHROMIUM", &self.chromium);
        command
    }
}

impl Tools {
    /// Installs what pages are tried with, if it is missing. Chromium is the system's own: where there is none, `apt-get`
    /// installs it, which takes root or a `sudo` that asks for no password.
    ///
    /// # Errors
    /// As [`Tools::ensure`]; and if there is no Chromium and none can be installed, with what to do about it.
    pub fn browser(&self, progress: &dyn Fn(&str)) -> Result<BrowserTools> {
        let dir = self.dir().join("browser");
        let _lock = lock(self.dir(), "install", progress)?;
        let driver = dir.join("node_modules/playwright-core/index.mjs");
        ensure_packages(
            &harness_dir().join("browser"),
            &dir,
            "the npm packages: playwright-core, axe-core",
            progress,
            || fs::metadata(&driver).map(|_| ()).context("npm has not installed playwright-core"),
        )?;
        copy_scripts("browser", &dir)?;
        Ok(BrowserTools { dir, chromium: ensure_chromium(progress)? })
    }
}

fn find_chromium() -> Option<PathBuf> {
    let names = ["chromium", "chromium-browser", "google-chrome-stable", "google-chrome"];
    names.into_iter().find_map(|name| find_binary(Path::new("/usr/bin"), "chromium", name))
}

fn ensure_chromium(progress: &dyn Fn(&str)) -> Result<PathBuf> {
    if let Some(chromium) = find_chromium() {
        return Ok(chromium);
    }
    progress("installing Chromium by apt-get (400 MB)");
    let missing = "apt-get, which would install Chromium; install it yourself (on Debian, as root: apt-get install \
                   chromium), or put it on the PATH as chromium. It";
    let root = fs::metadata("/proc/self").is_ok_and(|me| me.uid() == 0);
    for step in [&["update"][..], &["install", "--yes", "--no-install-recommends", "chromium"]] {
        let mut apt = Command::new(if root { "apt-get" } else { "sudo" });
        if !root {
            apt.args(["--non-interactive", "apt-get"]);
        }
        apt.args(["--quiet", "--option", "DPkg::Lock::Timeout=300"])
            .args(step)
            .env("DEBIAN_FRONTEND", "noninteractive");
        run(&mut apt, missing)?;
    }
    find_chromium().context("apt-get has installed a chromium that has no program of that name")
}

/// The page of `examples/browser-agent`, checked and built in a copy, with the package and the tools of the rig.
#[derive(Debug)]
pub struct BuiltPage {
    dir: TempDir,
}

impl BuiltPage {
    /// The folder to serve.
    pub fn folder(&self) -> PathBuf {
        self.dir.path().join("dist")
    }
}

/// Checks and builds the page.
///
/// # Errors
/// If the TypeScript compiler or Vite finds something wrong; with what it printed.
pub fn build_page(workers: &WorkerTools, package: &Package) -> Result<BuiltPage> {
    let source = workspace_dir().join("examples/browser-agent");
    let dir = tempfile::Builder::new().prefix("farebox-page-").tempdir()?;
    for part in ["src", "public"] {
        copy_dir(&source.join(part), &dir.path().join(part))?;
    }
    for file in ["index.html", "package.json", "tsconfig.json", "vite.config.js"] {
        fs::copy(source.join(file), dir.path().join(file)).with_context(|| format!("cannot copy {file}"))?;
    }
    // What its package.json names is installed already, but for the package itself.
    let packages = dir.path().join("node_modules");
    fs::create_dir(&packages)?;
    for entry in fs::read_dir(workers.dir().join("node_modules"))? {
        let entry = entry?;
        symlink(entry.path(), packages.join(entry.file_name()))?;
    }
    symlink(&package.dir, packages.join("farebox"))?;
    for script in ["check", "build"] {
        let mut npm = Command::new("npm");
        npm.args(["run", "--silent", script]).current_dir(dir.path());
        run(&mut npm, &format!("npm run {script}, in examples/browser-agent"))?;
    }
    Ok(BuiltPage { dir })
}
