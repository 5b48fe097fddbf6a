//! Python's pickle format, read as a graph of plain values and of calls that nobody makes.
//!
//! A pickle is a program for a stack machine that may call any function of Python. Here a call becomes a
//! [`Node::Call`]: the name of the function and its arguments, for the reader of the file to look at. Names that are
//! not in [`KNOWN`] are refused, so that a file with an unexpected class is named instead of half read.

use super::Problem;
use super::value::Value;
use std::borrow::Cow;
use std::collections::HashMap;

/// Index of a node in its graph.
pub(super) type Id = u32;

/// The classes and functions that a file may name.
///
/// Those of `torch` and `numpy` are what tensors and arrays are made of. The others hold settings: their fields can be
/// read, and nothing else happens with them.
const KNOWN: [&str; 65] = [
    "torch._utils._rebuild_tensor_v2",
    "torch._utils._rebuild_parameter",
    "torch._utils._rebuild_parameter_with_state",
    "torch._tensor._rebuild_from_type_v2",
    "torch.Tensor",
    "torch.nn.parameter.Parameter",
    "torch.FloatStorage",
    "torch.HalfStorage",
    "torch.BFloat16Storage",
    "torch.DoubleStorage",
    "torch.LongStorage",
    "torch.IntStorage",
    "torch.ShortStorage",
    "torch.CharStorage",
    "torch.ByteStorage",
    "torch.BoolStorage",
    "torch.Size",
    "torch.device",
    "torch.float32",
    "torch.float16",
    "torch.bfloat16",
    "torch.float64",
    "torch.int64",
    "torch.int32",
    "torch.uint8",
    "torch.bool",
    "numpy._core.multiarray._reconstruct",
    "numpy._core.multiarray.scalar",
    "numpy._core.numeric._frombuffer",
    "numpy.ndarray",
    "numpy.dtype",
    "_codecs.encode",
    "argparse.Namespace",
    "types.SimpleNamespace",
    "collections.OrderedDict",
    "collections.defaultdict",
    "collections.Counter",
    "collections.deque",
    "pathlib.Path",
    "pathlib.PosixPath",
    "pathlib.PurePosixPath",
    "pathlib.WindowsPath",
    "pathlib.PureWindowsPath",
    "pathlib._local.PosixPath",
    "pathlib._local.WindowsPath",
    "datetime.datetime",
    "datetime.timedelta",
    "builtins.dict",
    "builtins.list",
    "builtins.tuple",
    "builtins.set",
    "builtins.frozenset",
    "builtins.int",
    "builtins.float",
    "builtins.str",
    "builtins.bool",
    "builtins.bytes",
    "builtins.bytearray",
    "builtins.complex",
    "builtins.slice",
    "builtins.range",
    "omegaconf.dictconfig.DictConfig",
    "omegaconf.listconfig.ListConfig",
    "easydict.EasyDict",
    "yacs.config.CfgNode",
];

/// Most values in one file: 200 000 tensors need fewer.
const MAX_NODES: usize = 1 << 22;
/// Most values that wait on the stack at one time.
const MAX_STACK: usize = 1 << 20;
/// Most containers that are open at one time.
const MAX_OPEN: usize = 512;
/// Deepest nesting and largest number of parts of a [`Value`] that is handed to callers.
const MAX_VALUE_DEPTH: usize = 16;
const MAX_VALUE_PARTS: usize = 1 << 16;

/// A value of the pickled program.
#[derive(Debug)]
pub(super) enum Node<'a> {
    None,
    Bool(bool),
    Int(i64),
    /// An integer beyond 64 bits.
    LargeInt,
    Float(f64),
    Text(Cow<'a, str>),
    Bytes(&'a [u8]),
    Tuple(Vec<Id>),
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    /// A class or function by its full name, one of [`KNOWN`].
    Global(&'static str),
    Call(Box<Call>),
    /// Something that lies outside the pickle.
    Persistent(Id),
}

/// A call that nobody makes, or the object that it would have made.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) function: &'static str,
    pub(super) arguments: Id,
    /// What would have been set in the object by key.
    pub(super) items: Vec<(Id, Id)>,
    /// What the object would have been told about its fields.
    pub(super) state: Option<Id>,
}

/// All values of a pickle.
#[derive(Debug)]
pub(super) struct Graph<'a> {
    nodes: Vec<Node<'a>>,
    root: Id,
}

impl<'a> Graph<'a> {
    /// Reads a pickle of protocol 2 to 5, of which no byte may be left over.
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, Problem> {
        let mut machine = Machine { rest: bytes, ..Machine::default() };
        let root = machine.run()?;
        if !machine.rest.is_empty() {
            return Err(Problem::damaged(format!(
                "{} bytes follow the end of the pickle",
                machine.rest.len()
            )));
        }
        Ok(Self { nodes: machine.nodes, root })
    }

    pub(super) fn root(&self) -> Id {
        self.root
    }

    pub(super) fn node(&self, id: Id) -> &Node<'a> {
        &self.nodes[id as usize]
    }

    pub(super) fn text(&self, id: Id) -> Option<&str> {
        match self.node(id) {
            Node::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn int(&self, id: Id) -> Option<i64> {
        match self.node(id) {
            Node::Int(int) => Some(*int),
            _ => None,
        }
    }

    /// The call of `function`, if `id` is one, with its arguments.
    pub(super) fn call(&self, id: Id) -> Option<(&Call, &[Id])> {
        match self.node(id) {
            Node::Call(call) => Some((call, self.sequence(call.arguments)?)),
            _ => None,
        }
    }

    /// The elements of a tuple or list, or of the shape of a tensor.
    pub(super) fn sequence(&self, id: Id) -> Option<&[Id]> {
        let plain = |id: Id| match self.node(id) {
            Node::Tuple(items) | Node::List(items) => Some(items.as_slice()),
            _ => None,
        };
        match self.node(id) {
            Node::Call(call) if call.function == "torch.Size" => plain(*plain(call.arguments)?.first()?),
            _ => plain(id),
        }
    }

    /// The pairs of a dictionary of any class.
    pub(super) fn items(&self, id: Id) -> Option<&[(Id, Id)]> {
        match self.node(id) {
            Node::Dict(items) => Some(items),
            Node::Call(call) if !call.items.is_empty() || call.function.ends_with("Dict") => {
                Some(&call.items)
            }
            _ => None,
        }
    }

    /// What a dictionary holds under `key`.
    pub(super) fn get(&self, dict: Id, key: &str) -> Option<Id> {
        let mut found = self.items(dict)?.iter().rev().filter(|(k, _)| self.text(*k) == Some(key));
        found.next().map(|&(_, value)| value)
    }

    /// The value for a caller; what is nested too deeply, too long or no plain value becomes [`Value::Opaque`].
    pub(super) fn value(&self, id: Id) -> Value {
        let mut parts = MAX_VALUE_PARTS;
        self.value_within(id, MAX_VALUE_DEPTH, &mut parts)
    }

    fn value_within(&self, id: Id, depth: usize, parts: &mut usize) -> Value {
        if depth == 0 || *parts == 0 {
            return Value::Opaque("nested too deeply".to_owned());
        }
        *parts -= 1;
        let mut list = |ids: &[Id]| ids.iter().map(|&id| self.value_within(id, depth - 1, parts)).collect();
        match self.node(id) {
            Node::None => Value::None,
            Node::Bool(flag) => Value::Bool(*flag),
            Node::Int(int) => Value::Int(*int),
            Node::LargeInt => Value::Opaque("an integer beyond 64 bits".to_owned()),
            Node::Float(float) => Value::Float(*float),
            Node::Text(text) => Value::Text(text.to_string()),
            Node::Bytes(bytes) => Value::Opaque(format!("{} bytes", bytes.len())),
            Node::Tuple(ids) | Node::List(ids) => Value::List(list(ids)),
            Node::Dict(items) => self.fields(items, depth, parts),
            Node::Global(name) => Value::Opaque((*name).to_owned()),
            Node::Persistent(_) => Value::Opaque("a storage".to_owned()),
            Node::Call(call) => self.object(call, depth, parts),
        }
    }

    fn object(&self, call: &Call, depth: usize, parts: &mut usize) -> Value {
        if !call.items.is_empty() || call.function.ends_with("Dict") {
            return self.fields(&call.items, depth, parts);
        }
        let state = call.state.map(|state| match self.node(state) {
            // (None, fields) where the class keeps its fields in slots.
            Node::Tuple(two) if two.len() == 2 => two[1],
            _ => state,
        });
        if let Some(Node::Dict(fields)) = state.map(|state| self.node(state)) {
            return self.fields(fields, depth, parts);
        }
        if call.function.starts_with("pathlib.")
            && let Some(pieces) = self.sequence(call.arguments)
            && let Some(pieces) = pieces.iter().map(|&p| self.text(p)).collect::<Option<Vec<_>>>()
        {
            return Value::Text(pieces.join("/").replacen("//", "/", 1));
        }
        Value::Opaque(call.function.to_owned())
    }

    fn fields(&self, items: &[(Id, Id)], depth: usize, parts: &mut usize) -> Value {
        let field = |&(key, value): &(Id, Id)| {
            let name = match self.node(key) {
                Node::Text(text) => text.to_string(),
                Node::Int(int) => int.to_string(),
                _ => return None,
            };
            Some((name, self.value_within(value, depth - 1, parts)))
        };
        Value::Fields(items.iter().filter_map(field).collect())
    }
}

#[derive(Default)]
struct Machine<'a> {
    rest: &'a [u8],
    nodes: Vec<Node<'a>>,
    stack: Vec<Id>,
    /// Heights of the stack at which containers were opened.
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
    known: HashMap<(&'a str, &'a str), Id>,
}

impl<'a> Machine<'a> {
    fn run(&mut self) -> Result<Id, Problem> {
        loop {
            let opcode = self.byte()?;
            if opcode == b'.' {
                let root = self.pop()?;
                return if self.stack.is_empty() && self.marks.is_empty() {
                    Ok(root)
                } else {
                    Err(Problem::damaged("values are left over at the end of the pickle"))
                };
            }
            self.step(opcode)?;
        }
    }

    /// One instruction; the names of the standard stand beside their codes.
    fn step(&mut self, opcode: u8) -> Result<(), Problem> {
        match opcode {
            0x80 => match self.byte()? {
                2..=5 => Ok(()), // PROTO
                other => Err(Problem::refused(format!(
                    "it is pickled by protocol {other}; save it again by one of the protocols 2 to 5"
                ))),
            },
            0x95 => self.length(8).map(drop),    // FRAME
            b'(' => self.mark(),                 // MARK
            b'0' => self.discard(),              // POP
            b'1' => self.since_mark().map(drop), // POP_MARK
            b'2' => {
                let top = self.top()?; // DUP
                self.push_id(top)
            }
            b'N' => self.push(Node::None),        // NONE
            0x88 => self.push(Node::Bool(true)),  // NEWTRUE
            0x89 => self.push(Node::Bool(false)), // NEWFALSE
            b'K' | b'M' | b'J' | 0x8a | 0x8b => self.integer(opcode),
            b'G' => {
                let float = f64::from_be_bytes(self.array()?); // BINFLOAT
                self.push(Node::Float(float))
            }
            b'X' | 0x8c | 0x8d | b'T' | b'U' | b'B' | b'C' | 0x8e | 0x96 => self.string(opcode),
            b']' | 0x8f => self.push(Node::List(Vec::new())), // EMPTY_LIST, EMPTY_SET
            b'}' => self.push(Node::Dict(Vec::new())),        // EMPTY_DICT
            b')' => self.push(Node::Tuple(Vec::new())),       // EMPTY_TUPLE
            b't' | b'l' | b'd' | 0x91 | 0x85..=0x87 => self.container(opcode),
            b'a' | b'e' | 0x90 => {
                let values = if opcode == b'a' { vec![self.pop()?] } else { self.since_mark()? };
                self.append(&values) // APPEND, APPENDS, ADDITEMS
            }
            b's' | b'u' => {
                let values = if opcode == b's' { self.pop_many(2)? } else { self.since_mark()? };
                self.set_items(&values) // SETITEM, SETITEMS
            }
            b'q' | b'r' | 0x94 | b'h' | b'j' => self.memoise(opcode),
            b'c' | 0x93 => self.global(opcode),
            b'R' | 0x81 | 0x92 => self.call(opcode),
            b'b' => self.build(),
            b'Q' => {
                let id = self.pop()?; // BINPERSID
                self.push(Node::Persistent(id))
            }
            other => Err(Problem::refused(format!(
                "its pickle has the instruction {other:#04x}, which is not read; \
                 save it again by a current torch or with pickle protocol 2 to 5"
            ))),
        }
    }

    fn integer(&mut self, opcode: u8) -> Result<(), Problem> {
        let int = match opcode {
            b'K' => i64::from(self.byte()?),                      // BININT1
            b'M' => i64::from(u16::from_le_bytes(self.array()?)), // BININT2
            b'J' => i64::from(i32::from_le_bytes(self.array()?)), // BININT
            _ => {
                let length = self.length(if opcode == 0x8a { 1 } else { 4 })?; // LONG1, LONG4
                let bytes = self.take(length)?;
                if bytes.len() > 8 {
                    return self.push(Node::LargeInt);
                }
                let sign = if bytes.last().is_some_and(|b| b & 0x80 != 0) { 0xff } else { 0 };
                let mut full = [sign; 8];
                full[..bytes.len()].copy_from_slice(bytes);
                i64::from_le_bytes(full)
            }
        };
        self.push(Node::Int(int))
    }

    fn string(&mut self, opcode: u8) -> Result<(), Problem> {
        let digits = match opcode {
            0x8c | b'U' | b'C' => 1, // SHORT_BINUNICODE, SHORT_BINSTRING, SHORT_BINBYTES
            b'X' | b'T' | b'B' => 4, // BINUNICODE, BINSTRING, BINBYTES
            _ => 8,                  // BINUNICODE8, BINBYTES8, BYTEARRAY8
        };
        let length = self.length(digits)?;
        let bytes = self.take(length)?;
        match (opcode, std::str::from_utf8(bytes)) {
            (b'B' | b'C' | 0x8e | 0x96, _) => self.push(Node::Bytes(bytes)),
            (_, Ok(text)) => self.push(Node::Text(Cow::Borrowed(text))),
            // The strings of Python 2 hold any bytes.
            (b'T' | b'U', Err(_)) => self.push(Node::Bytes(bytes)),
            (_, Err(_)) => Err(Problem::damaged("a text in its pickle is no UTF-8")),
        }
    }

    fn container(&mut self, opcode: u8) -> Result<(), Problem> {
        let values = match opcode {
            0x85..=0x87 => self.pop_many(usize::from(opcode - 0x84))?, // TUPLE1, TUPLE2, TUPLE3
            _ => self.since_mark()?,
        };
        match opcode {
            b'l' | 0x91 => self.push(Node::List(values)),   // LIST, FROZENSET
            b'd' => self.push(Node::Dict(pairs(&values)?)), // DICT
            _ => self.push(Node::Tuple(values)),            // TUPLE
        }
    }

    fn append(&mut self, values: &[Id]) -> Result<(), Problem> {
        let target = self.top()?;
        match &mut self.nodes[target as usize] {
            Node::List(list) => list.extend_from_slice(values),
            Node::Call(_) => {} // no reader looks into such objects
            _ => return Err(Problem::damaged("its pickle appends to what is no list")),
        }
        Ok(())
    }

    fn set_items(&mut self, values: &[Id]) -> Result<(), Problem> {
        let (target, values) = (self.top()?, pairs(values)?);
        match &mut self.nodes[target as usize] {
            Node::Dict(items) => items.extend(values),
            Node::Call(call) => call.items.extend(values),
            _ => return Err(Problem::damaged("its pickle sets items of what is no dictionary")),
        }
        Ok(())
    }

    fn memoise(&mut self, opcode: u8) -> Result<(), Problem> {
        let key = match opcode {
            b'q' | b'h' => u32::from(self.byte()?),           // BINPUT, BINGET
            b'r' | b'j' => u32::from_le_bytes(self.array()?), // LONG_BINPUT, LONG_BINGET
            _ => self.memo.len() as u32,                      // MEMOIZE
        };
        if matches!(opcode, b'h' | b'j') {
            let id = self.memo.get(&key).copied();
            return self
                .push_id(id.ok_or_else(|| Problem::damaged("its pickle recalls what it never stored"))?);
        }
        let top = self.top()?;
        self.memo.insert(key, top);
        Ok(())
    }

    fn global(&mut self, opcode: u8) -> Result<(), Problem> {
        let (module, name) = if opcode == b'c' {
            (self.line()?, self.line()?) // GLOBAL
        } else {
            let two = self.pop_many(2)?; // STACK_GLOBAL
            let text = |id: Id| match &self.nodes[id as usize] {
                Node::Text(Cow::Borrowed(text)) => Ok(*text),
                _ => Err(Problem::damaged("the name of a class in its pickle is no text")),
            };
            (text(two[0])?, text(two[1])?)
        };
        if let Some(&id) = self.known.get(&(module, name)) {
            return self.push_id(id);
        }
        let full = format!("{}.{name}", current_module(module));
        let Some(known) = KNOWN.into_iter().find(|known| *known == full) else {
            return Err(Problem::refused(format!(
                "it holds a Python object `{}`, which is not read, and no code of a file is run; \
                 save its state_dict() alone",
                shortened(&full)
            )));
        };
        self.push(Node::Global(known))?;
        let id = self.top()?;
        self.known.insert((module, name), id);
        Ok(())
    }

    fn call(&mut self, opcode: u8) -> Result<(), Problem> {
        if opcode == 0x92 {
            self.pop()?; // the keyword arguments of NEWOBJ_EX
        }
        let two = self.pop_many(2)?; // REDUCE, NEWOBJ
        let (Node::Global(function), Node::Tuple(arguments)) =
            (&self.nodes[two[0] as usize], &self.nodes[two[1] as usize])
        else {
            return Err(Problem::damaged("its pickle calls what is no function or class"));
        };
        if *function == "_codecs.encode" {
            return self.encoded(&arguments.clone());
        }
        let function = *function;
        self.push(Node::Call(Box::new(Call { function, arguments: two[1], items: Vec::new(), state: None })))
    }

    /// Protocol 2 writes bytes as a text whose characters are the bytes. It stays a text here: readers that want bytes
    /// take both.
    fn encoded(&mut self, arguments: &[Id]) -> Result<(), Problem> {
        match arguments {
            [text, ..] if matches!(self.nodes[*text as usize], Node::Text(_)) => self.push_id(*text),
            _ => Err(Problem::damaged("bytes in its pickle are no text")),
        }
    }

    fn build(&mut self) -> Result<(), Problem> {
        let (state, target) = (self.pop()?, self.top()?); // BUILD
        match &mut self.nodes[target as usize] {
            Node::Call(call) => call.state = Some(state),
            _ => return Err(Problem::damaged("its pickle sets fields of what is no object")),
        }
        Ok(())
    }

    fn push(&mut self, node: Node<'a>) -> Result<(), Problem> {
        if self.nodes.len() == MAX_NODES {
            return Err(Problem::refused(format!(
                "its pickle holds more than {MAX_NODES} values; save its state_dict() alone"
            )));
        }
        self.nodes.push(node);
        self.push_id(self.nodes.len() as Id - 1)
    }

    fn push_id(&mut self, id: Id) -> Result<(), Problem> {
        if self.stack.len() == MAX_STACK {
            return Err(Problem::damaged("its pickle leaves too many values open"));
        }
        self.stack.push(id);
        Ok(())
    }

    fn mark(&mut self) -> Result<(), Problem> {
        if self.marks.len() == MAX_OPEN {
            return Err(Problem::damaged(format!("its pickle nests values more than {MAX_OPEN} deep")));
        }
        self.marks.push(self.stack.len());
        Ok(())
    }

    fn discard(&mut self) -> Result<(), Problem> {
        if self.marks.last() == Some(&self.stack.len()) {
            self.marks.pop();
            return Ok(());
        }
        self.pop().map(drop)
    }

    /// The top of the stack above the last mark.
    fn top(&self) -> Result<Id, Problem> {
        let floor = self.marks.last().copied().unwrap_or(0);
        self.stack[floor..]
            .last()
            .copied()
            .ok_or_else(|| Problem::damaged("its pickle takes more values than it has"))
    }

    fn pop(&mut self) -> Result<Id, Problem> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    fn pop_many(&mut self, count: usize) -> Result<Vec<Id>, Problem> {
        let mut values = (0..count).map(|_| self.pop()).collect::<Result<Vec<_>, _>>()?;
        values.reverse();
        Ok(values)
    }

    fn since_mark(&mut self) -> Result<Vec<Id>, Problem> {
        let height =
            self.marks.pop().ok_or_else(|| Problem::damaged("its pickle closes what it never opened"))?;
        Ok(self.stack.split_off(height))
    }

    fn byte(&mut self) -> Result<u8, Problem> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Problem> {
        Ok(self.take(N)?.try_into().expect("as many bytes as asked for"))
    }

    /// A length of `digits` bytes.
    fn length(&mut self, digits: usize) -> Result<usize, Problem> {
        let mut full = [0; 8];
        full[..digits].copy_from_slice(self.take(digits)?);
        usize::try_from(u64::from_le_bytes(full)).map_err(|_| ends())
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Problem> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or_else(ends)?;
        self.rest = rest;
        Ok(taken)
    }

    fn line(&mut self) -> Result<&'a str, Problem> {
        let end = self.rest.iter().position(|&b| b == b'\n').ok_or_else(ends)?;
        let line = self.take(end)?;
        self.byte()?;
        std::str::from_utf8(line)
            .map_err(|_| Problem::damaged("the name of a class in its pickle is no UTF-8"))
    }
}

fn ends() -> Problem {
    Problem::damaged("its pickle ends in the middle of a value")
}

fn pairs(values: &[Id]) -> Result<Vec<(Id, Id)>, Problem> {
    let (pairs, rest) = values.as_chunks::<2>();
    if rest.is_empty() {
        Ok(pairs.iter().map(|&[key, value]| (key, value)).collect())
    } else {
        Err(Problem::damaged("a key in its pickle has no value"))
    }
}

/// The name that a module has today.
fn current_module(module: &str) -> Cow<'_, str> {
    match module.strip_prefix("numpy.core") {
        Some(rest) => Cow::Owned(format!("numpy._core{rest}")),
        None if matches!(module, "__builtin__" | "__builtins__") => Cow::Borrowed("builtins"),
        None => Cow::Borrowed(module),
    }
}

/// A name for a message: printable, and not longer than a line.
fn shortened(name: &str) -> String {
    let mut short: String = name.chars().take(80).map(|c| if c.is_control() { '?' } else { c }).collect();
    if short.len() < name.len() {
        short.push_str("..");
    }
    short
}
