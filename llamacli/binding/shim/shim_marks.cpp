// Insertion of our nodes into a Jinja syntax tree: see shim_parts.h.
#include "shim_marks.h"
#include "shim_nodes.h"

namespace llamacli {

namespace {

void rewrite(statement_ptr & node);

void rewrite_all(statements & nodes) {
    for (auto & node : nodes) {
        rewrite(node);
    }
}

void rewrite_arguments(statements & args) {
    for (auto & arg : args) {
        auto * keyword = cast_stmt<keyword_argument_expression>(arg);
        rewrite(keyword ? keyword->val : arg);
    }
}

// Replaces `node` with `outer`, which wraps it.
template <typename T> void wrap(statement_ptr & node, std::unique_ptr<T> outer) {
    outer->pos  = node->pos;
    outer->node = std::move(node);
    node        = std::move(outer);
}

// The name of a filter or test, and its arguments or nullptr.
std::pair<std::string, statements *> name_and_arguments(statement_ptr & node) {
    if (auto * plain = cast_stmt<identifier>(node)) {
        return { plain->val, nullptr };
    }
    auto * call   = cast_stmt<call_expression>(node);
    auto * callee = call ? cast_stmt<identifier>(call->callee) : nullptr;
    return { callee ? callee->val : "", call ? &call->args : nullptr };
}

void rewrite_filter(statement_ptr & node, statement_ptr & operand, statement_ptr & filter) {
    auto outer        = std::make_unique<applied_filter>();
    auto [name, args] = name_and_arguments(filter);
    outer->name       = name == "trim" ? "strip" : name;
    rewrite(operand);
    outer->take(operand);
    if (args) {
        rewrite_arguments(*args);
        outer->take_arguments(*args);
    }
    wrap(node, std::move(outer));
}

void rewrite_call(statement_ptr & node, call_expression & call) {
    auto outer = std::make_unique<applied_call>();
    rewrite_arguments(call.args);
    outer->take_arguments(call.args);
    rewrite(call.callee);
    outer->take(call.callee);
    wrap(node, std::move(outer));
}

bool rewrite_statement(statement_ptr & node) {
    if (auto * branch = cast_stmt<if_statement>(node)) {
        rewrite(branch->test);
        rewrite_all(branch->body);
        rewrite_all(branch->alternate);
    } else if (auto * loop = cast_stmt<for_statement>(node)) {
        if (auto * selected = cast_stmt<select_expression>(loop->iterable)) { // which the loop itself evaluates in parts
            rewrite(selected->lhs);
            rewrite(selected->test);
        } else {
            rewrite(loop->iterable);
        }
        rewrite_all(loop->body);
        rewrite_all(loop->default_block);
    } else if (auto * set = cast_stmt<set_statement>(node)) {
        rewrite_all(set->body);
        rewrite(set->val);
    } else if (auto * macro = cast_stmt<macro_statement>(node)) {
        for (auto & arg : macro->args) {
            if (auto * keyword = cast_stmt<keyword_argument_expression>(arg)) {
                rewrite(keyword->val);
            }
        }
        rewrite_all(macro->body);
    } else if (auto * block = cast_stmt<call_statement>(node)) {
        auto * call = cast_stmt<call_expression>(block->call);
        rewrite_all(block->body);
        auto outer = std::make_unique<applied_call>();
        rewrite_arguments(call->args);
        outer->take_arguments(call->args);
        outer->take(call->callee);
        wrap(node, std::move(outer));
    } else if (auto * filtered = cast_stmt<filter_statement>(node)) {
        rewrite_all(filtered->body);
        auto body           = std::make_unique<text_block>();
        body->pos           = node->pos;
        body->body          = std::move(filtered->body);
        statement_ptr plain = std::make_unique<filter_expression>(std::move(body), std::move(filtered->filter));
        plain->pos          = node->pos;
        node                = std::move(plain);
        auto * expression   = cast_stmt<filter_expression>(node);
        rewrite_filter(node, expression->operand, expression->filter);
    } else {
        return false;
    }
    return true;
}

void rewrite_expression(statement_ptr & node) {
    if (auto * binary = cast_stmt<binary_expression>(node)) {
        rewrite(binary->left);
        rewrite(binary->right);
        if (binary->op.value == "+" || binary->op.value == "~") {
            auto outer = std::make_unique<applied_addition>();
            outer->take(binary->left);
            outer->take(binary->right);
            wrap(node, std::move(outer));
        }
    } else if (auto * filter = cast_stmt<filter_expression>(node)) {
        rewrite_filter(node, filter->operand, filter->filter);
    } else if (auto * test = cast_stmt<test_expression>(node)) {
        rewrite(test->operand);
        if (auto * args = name_and_arguments(test->test).second) {
            rewrite_arguments(*args);
        }
    } else if (auto * call = cast_stmt<call_expression>(node)) {
        rewrite_call(node, *call);
    } else if (auto * member = cast_stmt<member_expression>(node)) {
        rewrite(member->object);
        if (auto * slice = cast_stmt<slice_expression>(member->property)) {
            for (auto * bound : { &slice->start_expr, &slice->stop_expr, &slice->step_expr }) {
                rewrite(*bound);
            }
        } else if (member->computed) {
            rewrite(member->property);
        }
    } else if (auto * ternary = cast_stmt<ternary_expression>(node)) {
        rewrite(ternary->condition);
        rewrite(ternary->true_expr);
        rewrite(ternary->false_expr);
    } else if (auto * selected = cast_stmt<select_expression>(node)) {
        rewrite(selected->lhs);
        rewrite(selected->test);
    } else if (auto * unary = cast_stmt<unary_expression>(node)) {
        rewrite(unary->argument);
    } else if (auto * list = cast_stmt<array_literal>(node)) {
        rewrite_all(list->val);
    } else if (auto * tuple = cast_stmt<tuple_literal>(node)) {
        rewrite_all(tuple->val);
    } else if (auto * object = cast_stmt<object_literal>(node)) {
        for (auto & [key, item] : object->val) {
            rewrite(key);
            rewrite(item);
        }
    }
}

void rewrite(statement_ptr & node) {
    if (node && !rewrite_statement(node)) {
        rewrite_expression(node);
    }
}

} // namespace

void keep_marks(program & program) {
    auto whole  = std::make_unique<root>();
    whole->pos  = 0;
    whole->body = std::move(program.body);
    rewrite_all(whole->body);
    program.body.clear();
    program.body.push_back(std::move(whole));
}

} // namespace llamacli
