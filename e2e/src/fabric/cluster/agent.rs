//! The harness' end of the conversation with an agent (`crate::probe::agent`).

use crate::probe::agent::{Answer, Request};
use anyhow::{Context, Result, bail};
use kube::api::AttachedProcess;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader, Lines};
use tokio::process::Child;
use tokio::sync::Mutex;
use tokio::time::timeout;

/// Longer than any probe's patience.
const PATIENCE: Duration = Duration::from_secs(30);

type Input = Box<dyn AsyncWrite + Send + Unpin>;
type Output = Lines<BufReader<Box<dyn AsyncRead + Send + Unpin>>>;

/// A running agent.
pub struct Agent {
    name: String,
    /// And what keeps its process: it ends with this.
    streams: Mutex<(Input, Output, Box<dyn Send>)>,
}

impl Agent {
    /// In a pod, started by `exec`.
    pub fn in_pod(name: &str, mut process: AttachedProcess) -> Result<Self> {
        let input = process.stdin().context("an exec without input")?;
        let output = process.stdout().context("an exec without output")?;
        Ok(Self::new(name, input, output, Box::new(process)))
    }

    /// In a container, as a child of this process.
    pub fn in_container(name: &str, mut child: Child) -> Result<Self> {
        let input = child.stdin.take().context("a program without input")?;
        let output = child.stdout.take().context("a program without output")?;
        Ok(Self::new(name, input, output, Box::new(child)))
    }

    fn new(
        name: &str,
        input: impl AsyncWrite + Send + Unpin + 'static,
        output: impl AsyncRead + Send + Unpin + 'static,
        process: Box<dyn Send>,
    ) -> Self {
        let output: Box<dyn AsyncRead + Send + Unpin> = Box::new(output);
        let lines = BufReader::new(output).lines();
        Self {
            name: name.to_owned(),
            streams: Mutex::new((Box::new(input), lines, process)),
        }
    }

    /// Asks, and waits for the answer. Whoever asks and does not wait to the end leaves no
    /// answer behind for the next.
    ///
    /// # Errors
    /// When the agent could not do it, or is gone.
    pub async fn ask(self: &Arc<Self>, request: &Request) -> Result<Answer> {
        let mut text = serde_json::to_vec(request)?;
        text.push(b'\n');
        let agent = Arc::clone(self);
        let conversation = tokio::spawn(async move { agent.converse(&text).await });
        conversation.await.context("talking to an agent panicked")?
    }

    async fn converse(&self, text: &[u8]) -> Result<Answer> {
        let mut streams = self.streams.lock().await;
        let (input, output, _) = &mut *streams;
        let conversation = async {
            input.write_all(text).await?;
            input.flush().await?;
            output.next_line().await
        };
        let name = &self.name;
        let line = timeout(PATIENCE, conversation)
            .await
            .with_context(|| format!("the agent of {name} is silent"))?
            .with_context(|| format!("the agent of {name} cannot be reached"))?
            .with_context(|| format!("the agent of {name} has ended"))?;
        match serde_json::from_str(&line).with_context(|| format!("{name} says {line:?}"))? {
            Answer::Failed(reason) => bail!("{name}: {reason}"),
            answer => Ok(answer),
        }
    }
}
