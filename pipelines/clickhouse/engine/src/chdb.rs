//! The C interface of `libchdb.so`, as far as it is used here.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::Path;

use libloading::{Library, Symbol};

/// The engine, with its one connection.
pub(crate) struct Engine {
    library: Library,
    connection: *mut c_void,
}

// SAFETY: the connection is used by one thread at a time; `front` has it behind a mutex.
unsafe impl Send for Engine {}

type Connect = unsafe extern "C" fn(c_int, *mut *mut c_char) -> *mut *mut c_void;
type Query = unsafe extern "C" fn(*mut c_void, *const c_char, usize, *const c_char, usize) -> *mut c_void;
type OfHandle<T> = unsafe extern "C" fn(*mut c_void) -> T;
type Append = unsafe extern "C" fn(*mut c_void, *const c_void, usize) -> c_int;

impl Engine {
    /// Loads the library and opens the databases in `folder`.
    pub(crate) fn open(library: &Path, folder: &Path) -> Result<Self, String> {
        // SAFETY: the library is the one that the user of the tests named; what it does when
        // it is loaded is its own business.
        let library = unsafe { Library::new(library) }.map_err(|error| error.to_string())?;
        let arguments = ["clickhouse".to_owned(), format!("--path={}", folder.display())];
        let arguments: Vec<CString> =
            arguments.into_iter().map(CString::new).collect::<Result<_, _>>().map_err(|e| e.to_string())?;
        let mut pointers: Vec<*mut c_char> =
            arguments.iter().map(|argument| argument.as_ptr().cast_mut()).collect();
        let mut engine = Self { library, connection: std::ptr::null_mut() };
        let connect: Symbol<'_, Connect> = engine.function("chdb_connect")?;
        // SAFETY: as many arguments as said, each ended by a zero; they are only read.
        let connection = unsafe { connect(pointers.len() as c_int, pointers.as_mut_ptr()) };
        if connection.is_null() {
            return Err(format!("the engine cannot open {}", folder.display()));
        }
        // SAFETY: it is not null, and points to the handle until the connection is closed.
        engine.connection = unsafe { *connection };
        Ok(engine)
    }

    fn function<T>(&self, name: &str) -> Result<Symbol<'_, T>, String> {
        // SAFETY: the types above are those of the library's header.
        unsafe { self.library.get(name.as_bytes()) }.map_err(|error| error.to_string())
    }

    /// What a query gives, in `format`; or the engine's message.
    pub(crate) fn query(&self, sql: &str, format: &str) -> Result<Vec<u8>, String> {
        let query: Symbol<'_, Query> = self.function("chdb_query_n")?;
        // SAFETY: the pointers are valid for the lengths given with them, and only read.
        let result = unsafe {
            query(self.connection, sql.as_ptr().cast(), sql.len(), format.as_ptr().cast(), format.len())
        };
        self.take_result(result)
    }

    /// `insert` is the statement up to its FORMAT, `data` the rows in that format.
    pub(crate) fn insert(&self, insert: &str, format: &str, data: &[u8]) -> Result<(), String> {
        let begin: Symbol<'_, Query> = self.function("chdb_stream_insert_n")?;
        let append: Symbol<'_, Append> = self.function("chdb_stream_append")?;
        let done: Symbol<'_, OfHandle<*mut c_void>> = self.function("chdb_stream_done")?;
        let error: Symbol<'_, OfHandle<*const c_char>> = self.function("chdb_stream_insert_error")?;
        let cancel: Symbol<'_, OfHandle<()>> = self.function("chdb_stream_cancel_insert")?;
        let destroy: Symbol<'_, OfHandle<()>> = self.function("chdb_destroy_insert_stream")?;
        // SAFETY: as in `query`; the stream is used until it is destroyed, once, below.
        unsafe {
            let stream = begin(
                self.connection,
                insert.as_ptr().cast(),
                insert.len(),
                format.as_ptr().cast(),
                format.len(),
            );
            let mut message = text(error(stream));
            if message.is_none() && !data.is_empty() {
                let taken = append(stream, data.as_ptr().cast(), data.len());
                message = text(error(stream));
                if taken != 0 && message.is_none() {
                    message = Some("Code: 0. the engine did not take the rows".to_owned());
                }
            }
            let outcome = match message {
                Some(message) => {
                    cancel(stream);
                    Err(message)
                }
                None => self.take_result(done(stream)).map(|_| ()),
            };
            destroy(stream);
            outcome
        }
    }

    fn take_result(&self, result: *mut c_void) -> Result<Vec<u8>, String> {
        if result.is_null() {
            return Err("Code: 0. the engine gave no result".to_owned());
        }
        let error: Symbol<'_, OfHandle<*const c_char>> = self.function("chdb_result_error")?;
        let length: Symbol<'_, OfHandle<usize>> = self.function("chdb_result_length")?;
        let buffer: Symbol<'_, OfHandle<*const u8>> = self.function("chdb_result_buffer")?;
        let destroy: Symbol<'_, OfHandle<()>> = self.function("chdb_destroy_query_result")?;
        // SAFETY: the result is not null and is not used after it is destroyed; its buffer is
        // as long as it says.
        unsafe {
            let outcome = match text(error(result)) {
                Some(message) => Err(message),
                None => match (buffer(result), length(result)) {
                    (buffer, length) if buffer.is_null() || length == 0 => Ok(Vec::new()),
                    (buffer, length) => Ok(std::slice::from_raw_parts(buffer, length).to_vec()),
                },
            };
            destroy(result);
            outcome
        }
    }
}

/// # Safety
/// The pointer is null or to a text that ends with a zero.
unsafe fn text(pointer: *const c_char) -> Option<String> {
    if pointer.is_null() {
        return None;
    }
    // SAFETY: the caller's.
    let text = unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned();
    (!text.is_empty()).then_some(text)
}
