//! A call as Postgres runs it: the expression that it stands in, and the statement around it.
#![allow(unsafe_code)]

use pgrx::callconv::{Arg, ArgAbi};
use pgrx::pg_sys::{self, NodeTag};
use pgrx::pgrx_sql_entity_graph::metadata::{
    ArgumentError, ReturnsError, ReturnsRef, SqlMappingRef, SqlTranslatable, TypeOrigin,
};
use std::marker::PhantomData;

/// The call of a function. It stands among the parameters of a Rust function, but is no argument in
/// SQL.
#[derive(Clone, Copy)]
pub struct Call<'fcx> {
    info: pg_sys::FunctionCallInfo,
    lives: PhantomData<&'fcx ()>,
}

impl Call<'_> {
    /// Is the first argument a `name[]` that this very call casts to `text[]`? Each element of such an
    /// array was cut after 63 bytes. A cast that happened elsewhere, or of a constant, is not seen.
    #[cold]
    pub fn casts_name_array(self) -> bool {
        // SAFETY: the expression is NULL or a node of the plan that is being executed; each node is
        // looked at as what its tag says it is (src/include/nodes/primnodes.h).
        unsafe {
            let call = self.expression();
            let arguments = if is(call, NodeTag::T_FuncExpr) {
                (*call.cast::<pg_sys::FuncExpr>()).args
            } else if is(call, NodeTag::T_OpExpr) {
                (*call.cast::<pg_sys::OpExpr>()).args
            } else {
                return false;
            };
            let Some(mut argument) = first(arguments) else { return false };
            while is(argument, NodeTag::T_RelabelType) {
                argument = (*argument.cast::<pg_sys::RelabelType>()).arg.cast();
            }
            is(argument, NodeTag::T_ArrayCoerceExpr)
                && pg_sys::exprType((*argument.cast::<pg_sys::ArrayCoerceExpr>()).arg.cast())
                    == pg_sys::NAMEARRAYOID
        }
    }

    /// Is it that of a procedure, by CALL?
    pub fn is_of_procedure(self) -> bool {
        // SAFETY: Postgres calls with a complete FunctionCallInfo; its context is NULL or a node, for a procedure
        // that of CALL (src/backend/commands/functioncmds.c).
        unsafe { is((*self.info).context, NodeTag::T_CallContext) }
    }

    /// Is this call all that the statement does which the client sent: CALL, or `SELECT` of it and nothing else?
    pub fn is_whole_statement(self) -> bool {
        // SAFETY: the active portal (src/include/utils/portal.h) is the one that runs the client's statement, or a
        // cursor of a function, or NULL.
        unsafe {
            let portal = pg_sys::ActivePortal;
            if portal.is_null() || inside_function() {
                false
            } else if self.is_of_procedure() {
                self.is_call_of(portal)
            } else {
                self.is_select_of(portal)
            }
        }
    }

    /// # Safety
    /// The portal is running.
    unsafe fn is_call_of(self, portal: pg_sys::Portal) -> bool {
        // SAFETY: a portal's statements are planned ones, and each node is what its tag says.
        unsafe {
            first((*portal).stmts).is_some_and(|planned| {
                let statement = (*planned.cast::<pg_sys::PlannedStmt>()).utilityStmt;
                // A prepared statement is copied before it runs, so the nodes are equal, not the same.
                is(statement, NodeTag::T_CallStmt)
                    && pg_sys::equal(
                        (*statement.cast::<pg_sys::CallStmt>()).funcexpr.cast(),
                        self.expression().cast(),
                    )
            })
        }
    }

    /// # Safety
    /// The portal is running.
    unsafe fn is_select_of(self, portal: pg_sys::Portal) -> bool {
        // SAFETY: its plan is NULL if it has none to execute, and each node is what its tag says.
        unsafe {
            if (*portal).queryDesc.is_null() {
                return false;
            }
            let planned = (*(*portal).queryDesc).plannedstmt;
            if planned.is_null() || !is((*planned).planTree.cast(), NodeTag::T_Result) {
                return false;
            }
            let plan = (*planned).planTree;
            // The same node, not one that looks the same: the call may be inside a function that the
            // statement calls.
            (*plan).lefttree.is_null()
                && !(*plan).targetlist.is_null()
                && (*(*plan).targetlist).length == 1
                && first((*plan).targetlist).is_some_and(|target| {
                    (*target.cast::<pg_sys::TargetEntry>()).expr.cast() == self.expression()
                })
        }
    }

    /// The node of the expression that is this call; NULL if it is called in another way.
    ///
    /// # Safety
    /// The node lives as long as the call.
    unsafe fn expression(self) -> *mut pg_sys::Node {
        // SAFETY: Postgres calls with a complete FunctionCallInfo; a function that is looked up by
        // hand has no expression.
        unsafe {
            let function = (*self.info).flinfo;
            if function.is_null() { std::ptr::null_mut() } else { (*function).fn_expr.cast() }
        }
    }
}

/// Does a function in a procedural language run, or a DO block? They all go through SPI
/// (`src/backend/executor/spi.c`), which answers this to whoever asks it to forget a relation that it does
/// not know.
fn inside_function() -> bool {
    // SAFETY: looks a name up in a list, if there is one; it raises nothing.
    unsafe { pg_sys::SPI_unregister_relation(c"".as_ptr()) != pg_sys::SPI_ERROR_UNCONNECTED }
}

/// # Safety
/// `node` is NULL or a node of Postgres.
unsafe fn is(node: *const pg_sys::Node, tag: NodeTag) -> bool {
    // SAFETY: every node begins with its tag.
    unsafe { !node.is_null() && (*node).type_ == tag }
}

/// The first of a list of nodes.
///
/// # Safety
/// `list` is NULL or a list of pointers to nodes (`src/include/nodes/pg_list.h`).
unsafe fn first(list: *const pg_sys::List) -> Option<*mut pg_sys::Node> {
    // SAFETY: a list that is not NULL has an element.
    unsafe { (!list.is_null()).then(|| (*(*list).elements).ptr_value.cast()) }
}

// SAFETY: a virtual argument: it is made of the call itself, as pgrx' own FunctionCallInfo is.
unsafe impl<'fcx> ArgAbi<'fcx> for Call<'fcx> {
    #[inline]
    unsafe fn unbox_arg_unchecked(arg: Arg<'_, 'fcx>) -> Self {
        // SAFETY: as the caller says.
        let info = unsafe { pg_sys::FunctionCallInfo::unbox_arg_unchecked(arg) };
        Self { info, lives: PhantomData }
    }

    fn is_virtual_arg() -> bool {
        true
    }
}

// SAFETY: it is left out of the SQL.
unsafe impl SqlTranslatable for Call<'_> {
    const TYPE_IDENT: &'static str = "advisory_keys::Call";
    const TYPE_ORIGIN: TypeOrigin = TypeOrigin::External;
    const ARGUMENT_SQL: Result<SqlMappingRef, ArgumentError> = Ok(SqlMappingRef::Skip);
    const RETURN_SQL: Result<ReturnsRef, ReturnsError> = Ok(ReturnsRef::One(SqlMappingRef::Skip));
}
