//! The gate as TypeScript calls it.

use crate::exchange::Request;
use crate::executor;
use crate::host::{Turns, World};
use crate::lines;
use crate::side::{Scope, Side};
use crate::storage::{Kept, Storage};
use crate::store::{self, Line};
use farebox_core::gate::Gate as Core;
use farebox_core::host::Capabilities;
use farebox_core::ledger::StoreError;
use farebox_core::ledger::local::{Ceilings, LocalStore};
use farebox_core::ledger::remote::Remote;
use std::cell::{OnceCell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use wasm_bindgen::prelude::*;

/// What a runtime with `fetch` can do.
const CAN: Capabilities = Capabilities { hold_response: true, read_body: true };

/// The seller side.
#[wasm_bindgen]
pub struct Gate {
    core: Rc<Core>,
    /// Places of the ledger that TypeScript reaches.
    places: u32,
    /// What the ledger is in, if it is in this process, and the ledger once it was opened: not before the first request,
    /// since workers have no randomness before.
    memory: Option<Storage>,
    opened: OnceCell<LocalStore<Kept>>,
    tending: Rc<RefCell<Option<Tending>>>,
}

/// The work between exchanges. Its future lives from turn to turn.
struct Tending {
    scope: Scope,
    turns: Turns,
    /// The task of the last turn.
    task: u32,
    work: Option<Pin<Box<dyn Future<Output = ()>>>>,
}

#[wasm_bindgen]
impl Gate {
    /// Reads and compiles a policy (JSON). `key` looks up the variables that the policy names. The ledger is in `memory`, or
    /// at `places` that TypeScript reaches.
    ///
    /// # Errors
    /// An array of mistakes: path, what was found, what is allowed, by turns.
    #[wasm_bindgen(constructor)]
    pub fn new(policy: &str, key: &js_sys::Function, places: u32, memory: Option<Storage>) -> Result<Gate, JsValue> {
        let look = |name: &str| key.call1(&JsValue::UNDEFINED, &JsValue::from_str(name)).ok()?.as_string();
        #[cfg(feature = "mutants")]
        look("FAREBOX_MUTANT").into_iter().for_each(farebox_core::mutant::choose);
        let core = Core::load(policy.as_bytes(), &look, CAN).map_err(|mistakes| {
            let words = mistakes.0.into_iter().flat_map(|mistake| [mistake.path, mistake.found, mistake.hint]);
            JsValue::from(words.map(JsValue::from).collect::<js_sys::Array>())
        })?;
        Ok(Self { core: Rc::new(core), places, memory, opened: OnceCell::new(), tending: Rc::default() })
    }

    /// What an operator should know of the policy.
    pub fn warnings(&self) -> Vec<String> {
        self.core.policy().warnings().iter().map(ToString::to_string).collect()
    }

    /// Begins to decide an exchange: `headers` as lines, pseudo headers included. Gives its number, for [`abandon`];
    /// `side` hears of everything else.
    ///
    /// # Errors
    /// If there is no ledger.
    pub fn serve(&self, side: Side, headers: &str, source: &str) -> Result<u32, JsValue> {
        let scope = Scope::new(side);
        let store = self.store(&scope).map_err(|_| JsValue::from_str("no ledger"))?;
        let world = World::new(scope.clone(), store, None);
        let request = Request { scope: scope.clone(), headers: lines::headers(headers), source: source.to_owned() };
        let entered = scope.enter();
        let decided = Rc::clone(&self.core).serve(world, request);
        let task = executor::spawn(async move {
            // Dropped last: what the exchange leaves behind is spawned first.
            let _entered = entered;
            let _ = decided.await;
        });
        executor::run();
        Ok(task)
    }

    /// Does one turn of the work between exchanges: what facilitators support, outcomes that are not known. Nothing if a
    /// turn is under way already, unless `anew`: then that one is given up (its request may be gone).
    ///
    /// # Errors
    /// If there is no ledger.
    pub fn tend(&self, side: Side, anew: bool) -> Result<(), JsValue> {
        let mut slot = self.tending.borrow_mut();
        let under_way = slot.as_ref().is_some_and(|tending| !tending.turns.are_resting());
        if under_way && !anew {
            drop(slot);
            side.done();
            return Ok(());
        }
        let given_up = if under_way { slot.take() } else { None };
        let tending = match slot.take() {
            Some(tending) => {
                tending.scope.turn_to(side);
                tending
            }
            None => {
                let (scope, turns) = (Scope::new(side), Turns::default());
                let store = self.store(&scope).map_err(|_| JsValue::from_str("no ledger"))?;
                let world = World::new(scope.clone(), store, Some(turns.clone()));
                Tending { scope, turns, task: 0, work: Some(Box::pin(Rc::clone(&self.core).tend(world))) }
            }
        };
        let tending = slot.insert(tending);
        tending.turns.begin();
        let (entered, turns, shared) = (tending.scope.enter(), tending.turns.clone(), Rc::clone(&self.tending));
        tending.task = executor::spawn(async move {
            let _entered = entered;
            turn(&shared, &turns).await;
        });
        drop(slot);
        if let Some(given_up) = given_up {
            // Nothing will ever wake it.
            executor::end(given_up.task);
        }
        executor::run();
        Ok(())
    }

    fn store(&self, scope: &Scope) -> Result<Remote<Line>, StoreError> {
        let Some(memory) = &self.memory else {
            return Ok(Remote::new(Line::There(scope.clone(), self.places.max(1))));
        };
        if self.opened.get().is_none() {
            let policy = self.core.policy();
            let ceilings = Ceilings { claims: policy.claims_ceiling(), tokens: policy.tokens_ceiling() };
            let _ = self.opened.set(store::open(memory.clone(), ceilings)?);
        }
        let store = self.opened.get().ok_or(StoreError::Failed)?;
        Ok(Remote::new(Line::Here(store.clone())))
    }
}

/// Polls the work until it rests.
fn turn(shared: &Rc<RefCell<Option<Tending>>>, turns: &Turns) -> impl Future<Output = ()> {
    let (shared, turns) = (Rc::clone(shared), turns.clone());
    std::future::poll_fn(move |context| {
        let mine = |tending: &&mut Tending| tending.turns.is(&turns);
        let work = shared.borrow_mut().as_mut().filter(mine).and_then(|tending| tending.work.take());
        let Some(mut work) = work else { return Poll::Ready(()) };
        let over = work.as_mut().poll(context).is_ready();
        if let Some(tending) = shared.borrow_mut().as_mut().filter(mine) {
            tending.work = Some(work);
        }
        if over || turns.are_resting() { Poll::Ready(()) } else { Poll::Pending }
    })
}

/// The client has gone: drops the exchange where it stands. What it must not leave undone goes on.
#[wasm_bindgen]
pub fn abandon(exchange: u32) {
    executor::end(exchange);
    executor::run();
}
