//! The receipts of files that are not durably gone yet, as the outbox has them. Held here so that a look at a file costs no query; every change
//! is in the outbox first.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};

use crate::model::{FileReceipt, Receipt};
use crate::store::{Outbox, StoreError};

/// The receipts by name and inode.
#[derive(Debug, Default)]
pub struct Ledger {
    receipts: HashMap<(OsString, u64), FileReceipt>,
}

impl Ledger {
    /// What an earlier life of the daemon left.
    pub async fn load(outbox: &Outbox) -> Result<Self, StoreError> {
        let receipts = outbox.file_receipts().await?;
        Ok(Self {
            receipts: receipts
                .into_iter()
                .map(|receipt| ((receipt.name.clone(), receipt.inode), receipt))
                .collect(),
        })
    }

    /// The receipt of this file.
    pub fn get(&self, name: &OsStr, inode: u64) -> Option<&FileReceipt> {
        if self.receipts.is_empty() {
            return None; // The common case, without a copy of the name.
        }
        self.receipts.get(&(name.to_owned(), inode))
    }

    /// All of them.
    pub fn all(&self) -> Vec<FileReceipt> {
        self.receipts.values().cloned().collect()
    }

    /// These are committed.
    pub fn admitted(&mut self, receipts: impl IntoIterator<Item = FileReceipt>) {
        for receipt in receipts {
            self.receipts.insert((receipt.name.clone(), receipt.inode), receipt);
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
            self.receipts.remove(&(receipt.name, receipt.inode));
        }
        Ok(())
    }
}
