//! How a dataset's passport is read and written.

use bellwether_resp::{Command, Value};

use super::{
    Redis,
    form::{self, Form, LIFTED, Told},
    report::{self, RoleReply},
};
use crate::{Error, Papers, Passport};

impl Redis {
    /// What the reply to [`Form::read`] of the function says. Where that is not all, the key is
    /// read; only then, because reading a key that is missing shows in a server's statistics. The
    /// second value is how many of the server's keys are no data.
    pub(super) async fn papers(&self, function: &Value, keys: u64) -> Result<(Papers, u64), Error> {
        let function = form::told(function);
        match &function {
            Told::Papers(papers) => return Ok((papers.clone(), 0)),
            Told::Nothing | Told::Refused if keys == 0 => return Ok((Papers::None, 0)),
            Told::Nothing | Told::Refused => {}
        }
        let reply = self.query("GET", &[Form::Key.read()]).await?.remove(0);
        Ok(match (form::told(&reply), function) {
            (Told::Papers(papers @ Papers::Passport(_)), _) => (papers, 1),
            (Told::Papers(papers), _) => (papers, 0),
            // Who may use functions writes no key.
            (Told::Nothing, _) | (Told::Refused, Told::Nothing) => (Papers::None, 0),
            (Told::Refused, _) => (Papers::Unknown, 0),
        })
    }

    /// Finds out how a passport can be written. Without effect on a replica, so that this can be
    /// known before a promotion: one that fails half-way begins another history each time it is
    /// tried.
    pub(super) async fn form(&self, passport: &Passport) -> Result<Form, Error> {
        let commands = [Form::probe(), Form::Function.read(), Command::new("ROLE")];
        let name = Form::Function.name();
        let mut replies = self.pipeline(&self.orders, name, &commands).await?;
        let (role, read, probed) = (pop(&mut replies), pop(&mut replies), pop(&mut replies));
        if let Some(RoleReply::Replica { .. }) = report::role(&role) {
            self.refuse_later(&read, passport)?;
        }
        let refused = form::is_not_to_be_had(&probed);
        match form::told(&read) {
            Told::Papers(_) | Told::Nothing if !refused => return Ok(Form::Function),
            // It would outrank a key.
            Told::Papers(Papers::Passport(_)) => self.check(name, probed)?,
            _ => Value::Null,
        };
        let commands = [Form::Key.write(passport), Form::Key.read()];
        let replies = self.pipeline(&self.orders, "SET", &commands).await?;
        if replies.iter().any(form::is_not_to_be_had) {
            return Err(Error::Refused {
                address: self.address.clone(),
                command: name,
                reason: format!(
                    "a passport can be kept neither by FUNCTION and FCALL_RO nor by SET and GET of {}",
                    form::KEY
                ),
            });
        }
        Ok(Form::Key)
    }

    /// A replica may have received a later passport since it was decided on this one.
    fn refuse_later(&self, read: &Value, passport: &Passport) -> Result<(), Error> {
        match form::told(read) {
            Told::Papers(Papers::Passport(found))
                if found.group == passport.group && found.issue() >= passport.issue() =>
            {
                Err(self.unexpected("FCALL_RO", format!("it has the passport {found}")))
            }
            _ => Ok(()),
        }
    }

    /// Writes a passport into the dataset of a primary, and reads it and the role. For that moment
    /// it lifts what makes the server refuse every write: a primary gets replicas only when it
    /// serves, and serves only with its passport.
    pub(super) async fn write(&self, form: Form, passport: &Passport) -> Result<(), Error> {
        let mut lifted: Vec<(&'static str, &'static str, String)> = Vec::new();
        loop {
            // In one pipeline: it runs whole, even if the connection is lost meanwhile.
            let mut commands: Vec<Command> = lifted
                .iter()
                .map(|(name, value, _)| set(name, value))
                .collect();
            commands.push(form.write(passport));
            commands.extend(lifted.iter().map(|(name, _, value)| set(name, value)));
            commands.extend([form.read(), Command::new("ROLE")]);
            let mut replies = self.pipeline(&self.orders, form.name(), &commands).await?;
            let (role, read) = (pop(&mut replies), pop(&mut replies));
            let restored = replies.split_off(lifted.len() + 1);
            let written = pop(&mut replies);
            if let Some((name, value)) = lift(&written)
                && lifted.iter().all(|(lifted, _, _)| *lifted != name)
                && let Some(configured) = self.configured(name).await?
            {
                lifted.push((name, value, configured));
                continue;
            }
            self.check(form.name(), written)?;
            for reply in restored {
                self.check("CONFIG SET", reply)?;
            }
            return self.verify(form, passport, &read, &role);
        }
    }

    fn verify(
        &self,
        form: Form,
        passport: &Passport,
        read: &Value,
        role: &Value,
    ) -> Result<(), Error> {
        match form::told(read) {
            Told::Papers(Papers::Passport(found)) if found == *passport => {}
            other => {
                let reason = format!("the passport reads {other:?}");
                return Err(self.unexpected(form.name(), reason));
            }
        }
        match report::role(role) {
            Some(RoleReply::Primary) => Ok(()),
            other => Err(self.unexpected(form.name(), format!("its role is {other:?}"))),
        }
    }

    /// What a setting is set to, if that may be asked.
    async fn configured(&self, name: &'static str) -> Result<Option<String>, Error> {
        let get = Command::new("CONFIG").arg("GET").arg(name);
        let reply = self.query("CONFIG GET", &[get]).await?.remove(0);
        Ok(report::configured(&reply).map(str::to_owned))
    }
}

/// What to set, and to what, to have this refusal taken back.
fn lift(reply: &Value) -> Option<(&'static str, &'static str)> {
    let code = reply.error()?.code();
    let (_, name, value) = LIFTED.iter().find(|(refusal, _, _)| *refusal == code)?;
    Some((name, value))
}

fn set(name: &'static str, value: &str) -> Command {
    Command::new("CONFIG").arg("SET").arg(name).arg(value)
}

fn pop(replies: &mut Vec<Value>) -> Value {
    replies.pop().unwrap_or(Value::Null)
}
