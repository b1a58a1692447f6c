//! Which payments a rule is for.

use super::config::{self, Scheme, Transfer};
use crate::agent::challenge::Offer;
use crate::agent::money::{self, AccountId, AssetId};
use crate::agent::pattern::{HostPattern, PathPattern, Reading};
use crate::agent::request::Request;
use crate::policy::method;
use crate::policy::mistake::{Mistakes, quoted};

/// Which payments a rule is for: every list that is there must hold the payment's value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::agent) struct Match {
    hosts: Option<Vec<HostPattern>>,
    resources: Option<Vec<PathPattern>>,
    methods: Option<Vec<String>>,
    chains: Option<Vec<u64>>,
    assets: Option<Vec<AssetId>>,
    payees: Option<Vec<AccountId>>,
    schemes: Option<Vec<Scheme>>,
    transfers: Option<Vec<Transfer>>,
    facilitators: Option<Vec<[u8; 20]>>,
    tasks: Option<Vec<String>>,
    agents: Option<Vec<String>>,
}

impl Match {
    /// Compiles what is written at `at`.
    pub(super) fn compile(written: &config::Match, at: &str, mistakes: &mut Mistakes) -> Self {
        let name = |text: &str| match Request::is_name(text) {
            true => Ok(text.to_owned()),
            false => Err("1 to 64 letters, digits, `.`, `_`, `-`, `:`".to_owned()),
        };
        let method = |text: &str| match method::is_allowed(text.as_bytes()) {
            true => Ok(text.to_owned()),
            false => Err("write a method in upper case, like \"GET\"".to_owned()),
        };
        let mut list = List { at, mistakes };
        Self {
            hosts: list.compile("hosts", written.hosts.as_deref(), HostPattern::parse),
            resources: list.compile("resources", written.resources.as_deref(), PathPattern::parse),
            methods: list.compile("methods", written.methods.as_deref(), method),
            chains: list.compile("networks", written.networks.as_deref(), money::chain),
            assets: list.compile("assets", written.assets.as_deref(), AssetId::parse),
            payees: list.compile("payees", written.payees.as_deref(), AccountId::parse),
            schemes: list.copy("schemes", written.schemes.as_deref()),
            transfers: list.copy("transfers", written.transfers.as_deref()),
            facilitators: list.compile("facilitators", written.facilitators.as_deref(), money::evm),
            tasks: list.compile("tasks", written.tasks.as_deref(), name),
            agents: list.compile("agents", written.agents.as_deref(), name),
        }
    }

    /// Whether the rule is for this payment.
    pub(in crate::agent) fn covers(&self, request: &Request, offer: &Offer, reading: Reading) -> bool {
        fn any<T>(list: Option<&Vec<T>>, fits: impl Fn(&T) -> bool) -> bool {
            list.is_none_or(|list| list.iter().any(fits))
        }
        any(self.hosts.as_ref(), |host| host.matches(&request.url, reading))
            && any(self.resources.as_ref(), |path| path.matches(&request.url, reading))
            && any(self.methods.as_ref(), |method| covers_method(method, &request.method))
            && any(self.chains.as_ref(), |chain| *chain == offer.asset.chain)
            && any(self.assets.as_ref(), |asset| *asset == offer.asset)
            && any(self.payees.as_ref(), |payee| *payee == offer.payee)
            && any(self.schemes.as_ref(), |scheme| *scheme == offer.scheme)
            && any(self.transfers.as_ref(), |transfer| *transfer == offer.transfer)
            && any(self.facilitators.as_ref(), |facilitator| Some(*facilitator) == offer.facilitator)
            && any(self.tasks.as_ref(), |task| Some(task) == request.task.as_ref())
            && any(self.agents.as_ref(), |agent| Some(agent) == request.agent.as_ref())
    }

    /// Whether every payment that this is for is one that `wider` is for.
    pub(super) fn within(&self, wider: &Self, reading: Reading) -> bool {
        fn each<T>(mine: Option<&Vec<T>>, its: Option<&Vec<T>>, within: impl Fn(&T, &T) -> bool) -> bool {
            match (mine, its) {
                (_, None) => true,
                (None, Some(_)) => false,
                (Some(mine), Some(its)) => mine.iter().all(|mine| its.iter().any(|its| within(mine, its))),
            }
        }
        each(self.hosts.as_ref(), wider.hosts.as_ref(), |mine, its| mine.within(its, reading))
            && each(self.resources.as_ref(), wider.resources.as_ref(), |mine, its| mine.within(its, reading))
            && each(self.methods.as_ref(), wider.methods.as_ref(), |mine, its| covers_method(its, mine))
            && each(self.chains.as_ref(), wider.chains.as_ref(), PartialEq::eq)
            && each(self.assets.as_ref(), wider.assets.as_ref(), PartialEq::eq)
            && each(self.payees.as_ref(), wider.payees.as_ref(), PartialEq::eq)
            && each(self.schemes.as_ref(), wider.schemes.as_ref(), PartialEq::eq)
            && each(self.transfers.as_ref(), wider.transfers.as_ref(), PartialEq::eq)
            && each(self.facilitators.as_ref(), wider.facilitators.as_ref(), PartialEq::eq)
            && each(self.tasks.as_ref(), wider.tasks.as_ref(), PartialEq::eq)
            && each(self.agents.as_ref(), wider.agents.as_ref(), PartialEq::eq)
    }
}

/// `GET` includes `HEAD`, which costs the same.
fn covers_method(rule: &str, method: &str) -> bool {
    rule == method || (rule == "GET" && method == "HEAD")
}

struct List<'a> {
    at: &'a str,
    mistakes: &'a mut Mistakes,
}

impl List<'_> {
    fn compile<T>(
        &mut self,
        field: &str,
        written: Option<&[String]>,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        let written = self.filled(field, written)?;
        let mut compiled = Vec::with_capacity(written.len());
        for (index, text) in written.iter().enumerate() {
            match read(text) {
                Ok(value) => compiled.push(value),
                Err(hint) => {
                    let path = format!("{}.match.{field}[{index}]", self.at);
                    self.mistakes.add(path, format!("found {}", quoted(text)), hint);
                }
            }
        }
        Some(compiled)
    }

    fn copy<T: Copy>(&mut self, field: &str, written: Option<&[T]>) -> Option<Vec<T>> {
        self.filled(field, written).map(<[T]>::to_vec)
    }

    fn filled<'t, T>(&mut self, field: &str, written: Option<&'t [T]>) -> Option<&'t [T]> {
        let written = written?;
        if written.is_empty() {
            let path = format!("{}.match.{field}", self.at);
            self.mistakes.add(path, "found an empty list", "leave it out for all, or write what is meant");
        }
        Some(written)
    }
}
