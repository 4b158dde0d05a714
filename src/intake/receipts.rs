//! The receipts of files that are not durably gone yet, as the outbox has them. Held here so that a look at a file
//! costs no query; every change is in the outbox first.
//!
//! A receipt speaks of one inbox directory, by its [id](super::identity). Those of another one than the path names just
//! now are kept until it is back, and are neither used nor forgotten.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};

use crate::clock;
use crate::model::{Admission, FileReceipt, InboxId, Receipt};
use crate::store::{Outbox, StoreError};

#[derive(Debug, Default)]
pub struct Receipts {
    /// Of the directory that is there, by name and inode.
    present: HashMap<(OsString, u64), FileReceipt>,
    here: InboxId,
    elsewhere: Vec<FileReceipt>,
}

impl Receipts {
    /// What an earlier life of the daemon left; `here` is the directory that the path names.
    pub async fn load(outbox: &Outbox, here: InboxId) -> Result<Self, StoreError> {
        let mut receipts = Self {
            elsewhere: outbox.file_receipts().await?,
            ..Self::default()
        };
        receipts.adopt(outbox, here).await?;
        receipts.turn_to(here);
        Ok(receipts)
    }

    /// Ledger of version 1 know no directory: they are of the one that is there at the first start.
    async fn adopt(&mut self, outbox: &Outbox, here: InboxId) -> Result<(), StoreError> {
        let orphans: Vec<FileReceipt> = self
            .elsewhere
            .iter()
            .filter(|receipt| receipt.inbox.is_none())
            .cloned()
            .collect();
        if orphans.is_empty() {
            return Ok(());
        }
        for receipt in &mut self.elsewhere {
            receipt.inbox.get_or_insert(here);
        }
        let adopted = orphans.iter().cloned().map(|receipt| {
            Receipt::File(FileReceipt {
                inbox: Some(here),
                ..receipt
            })
        });
        let admission = Admission {
            entries: Vec::new(),
            receipts: adopted.collect(),
        };
        outbox.admit(admission, clock::now()).await?;
        // Crash here: both are there, and the next start does this again.
        outbox.forget(orphans.into_iter().map(Receipt::File).collect()).await
    }

    /// The path names another directory now.
    pub fn turn_to(&mut self, here: InboxId) {
        let mut all = std::mem::take(&mut self.elsewhere);
        all.extend(self.present.drain().map(|(_, receipt)| receipt));
        self.here = here;
        for receipt in all {
            if receipt.inbox == Some(here) {
                self.present.insert((receipt.name.clone(), receipt.inode), receipt);
            } else {
                self.elsewhere.push(receipt);
            }
        }
    }

    /// The directory whose receipts are in use.
    pub fn here(&self) -> InboxId {
        self.here
    }

    /// How many receipts wait for another directory.
    pub fn elsewhere(&self) -> usize {
        self.elsewhere.len()
    }

    /// The receipt of this file.
    pub fn get(&self, name: &OsStr, inode: u64) -> Option<&FileReceipt> {
        if self.present.is_empty() {
            return None; // The common case, without a copy of the name.
        }
        self.present.get(&(name.to_owned(), inode))
    }

    pub fn all(&self) -> Vec<FileReceipt> {
        self.present.values().cloned().collect()
    }

    pub fn admitted(&mut self, receipts: impl IntoIterator<Item = FileReceipt>) {
        for receipt in receipts {
            self.present.insert((receipt.name.clone(), receipt.inode), receipt);
        }
    }

    /// The files of these receipts are durably gone, or hold something else: forgets them here and in the outbox.
    /// Crash before this: they stay until the next start finds no such files.
    pub async fn forget(&mut self, outbox: &Outbox, gone: Vec<FileReceipt>) -> Result<(), StoreError> {
        if gone.is_empty() {
            return Ok(());
        }
        outbox.forget(gone.iter().cloned().map(Receipt::File).collect()).await?;
        for receipt in gone {
            self.present.remove(&(receipt.name, receipt.inode));
        }
        Ok(())
    }
}
