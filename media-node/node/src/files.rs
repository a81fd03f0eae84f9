//! Object storage in a folder, for stand-alone mode.

use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use hotline_ports::{Bucket, Fault, Objects};

const PART: &str = "the recordings folder";

/// Objects as files below a folder.
#[derive(Debug, Clone)]
pub struct FileObjects {
    root: PathBuf,
}

impl FileObjects {
    /// Below `root`, which is made when something is put.
    pub fn new(root: PathBuf) -> Self {
        Self { root }
    }

    fn path(&self, key: &str) -> Result<PathBuf, Fault> {
        let plain = |part: &str| !part.is_empty() && part != "." && part != "..";
        if key.len() > 1_024 || !key.split('/').all(plain) {
            return Err(Fault::permanent(PART, format!("{key:?} is no object key")));
        }
        Ok(self.root.join(key))
    }
}

#[async_trait]
impl Objects for FileObjects {
    async fn put(&self, _: Bucket, key: &str, body: Vec<u8>, _: &str) -> Result<(), Fault> {
        let path = self.path(key)?;
        let failed = |e: std::io::Error| Fault::transient(PART, format!("{}: {e}", path.display()));
        if let Some(folder) = path.parent() {
            tokio::fs::create_dir_all(folder).await.map_err(failed)?;
        }
        let mut fresh = path.clone().into_os_string();
        fresh.push(".new");
        tokio::fs::write(&fresh, body).await.map_err(failed)?;
        tokio::fs::rename(&fresh, &path).await.map_err(failed)
    }

    async fn get(&self, _: Bucket, key: &str) -> Result<Option<Vec<u8>>, Fault> {
        let path = self.path(key)?;
        match tokio::fs::read(&path).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Fault::transient(PART, format!("{}: {error}", path.display()))),
        }
    }

    async fn list(&self, _: Bucket, _: &str, _: usize) -> Result<Vec<String>, Fault> {
        Err(Fault::permanent(PART, "a stand-alone node does not list objects"))
    }

    async fn presign(&self, _: Bucket, _: &str, _: Duration) -> Result<String, Fault> {
        Err(Fault::permanent(PART, "a stand-alone node has no links"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn keys_stay_below_the_folder() {
        let root = std::env::temp_dir().join(format!("hotline-files-{}", std::process::id()));
        let objects = FileObjects::new(root.clone());
        let put = |key: &'static str| objects.put(Bucket::Recordings, key, vec![1], "x/y");
        assert!(put("a/b/c.g711").await.is_ok());
        assert_eq!(objects.get(Bucket::Recordings, "a/b/c.g711").await, Ok(Some(vec![1])));
        assert_eq!(objects.get(Bucket::Recordings, "a/b/d").await, Ok(None));
        for wrong in ["../x", "/x", "a//b", "", "a/../../x"] {
            assert!(put(wrong).await.is_err(), "{wrong}");
        }
        std::fs::remove_dir_all(root).unwrap();
    }
}
