//! A restore that is asked to end: what it has undone stays, and a second one does the rest.

use std::sync::Arc;

use object_store::memory::InMemory;
use object_store::{ObjectStoreExt as _, path::Path};
use storm_index::index::{Access, Index, LeaseTerms, NewUser};
use storm_index::reconcile::{Mode, Reconciler, Request, Silent};
use storm_index::storage::Storage;

use crate::support::database::{self, TestDatabase, on_postgres};
use crate::support::look::Unasked;
use crate::support::playground::block_on;

const MANY: u64 = 3_000;

#[test]
fn a_restore_that_is_cancelled_leaves_whole_batches_and_the_next_one_does_the_rest() {
    let database = TestDatabase::fresh();
    block_on(async {
        let store = Arc::new(InMemory::new());
        for n in 0..MANY {
            store.put(&Path::parse(format!("1/{n:05}")).unwrap(), "x".into()).await.unwrap();
        }
        let index = Index::open(&database.url(), Access::Write).await.unwrap();
        index.add_user(NewUser { name: "ann".into(), id: Some(1), prefix: None }).await.unwrap();
        let storage = Storage::new(store);
        let reconciler = Reconciler::new(&storage, &index);
        reconciler.run(&Request::new(Mode::Sync), &mut Silent).await.unwrap();
        let other = database.connect().await;
        database::execute(&other, "UPDATE stored_files SET path = 'old/' || path, parent_path = 'old'").await;
        let mut clean = Request::new(Mode::Clean);
        (clean.force, clean.max_delete) = (true, Some("100%".parse().unwrap()));
        let cleaned = reconciler.run(&clean, &mut Silent).await.unwrap();
        assert_eq!(cleaned.tally.deleted, MANY, "{cleaned:?}");
        // As soon as the first record is back, somebody asks it to end.
        let ask = "UPDATE tasks SET cancel_requested = true WHERE status = 'RUNNING';";
        let trigger = match on_postgres() {
            true => format!(
                "CREATE FUNCTION ask() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {ask} RETURN new; END $$; \
                 CREATE TRIGGER asks AFTER INSERT ON stored_files FOR EACH ROW EXECUTE FUNCTION ask()"
            ),
            false => format!("CREATE TRIGGER asks AFTER INSERT ON stored_files BEGIN {ask} END"),
        };
        database::execute(&other, &trigger).await;
        let task = cleaned.task_id.to_string();
        let restore = async || index.restore(&task, false, LeaseTerms::default(), &mut Unasked).await.unwrap();
        let first = restore().await;
        let done = first.tally.records_restored;
        assert_eq!((first.status(), first.problems[0].code.as_str()), ("CANCELLED", "cancelled"));
        assert!(0 < done && done < MANY, "{first:?}");
        let row = index.task(&first.task_id.to_string()).await.unwrap();
        assert!(row.status == "CANCELLED" && row.finished_at.is_some(), "{row:?}");
        assert_eq!(index.lease_holder().await.unwrap(), None);
        let count = "SELECT CAST(count(*) AS TEXT) FROM stored_files";
        assert_eq!(database::column(&other, count).await, [done.to_string()]);
        let gone = if on_postgres() { "DROP TRIGGER asks ON stored_files" } else { "DROP TRIGGER asks" };
        database::execute(&other, gone).await;
        let second = restore().await;
        assert_eq!((second.status(), second.tally.conflicts), ("SUCCESSFUL", 0), "{second:?}");
        assert_eq!(done + second.tally.records_restored, MANY);
        assert_eq!(database::column(&other, count).await, [MANY.to_string()]);
        index.close().await;
    });
}
