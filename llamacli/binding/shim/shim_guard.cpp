// Insertion of our nodes into a Jinja syntax tree: see shim_template.h.
#include "shim_guard.h"
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

void rewrite_body(statements & body) {
    for (auto & node : body) {
        rewrite(node);
        wrap(node, std::make_unique<step>());
    }
}

// The name of a filter or test, and its arguments, or nullptr.
std::pair<std::string, statements *> name_and_arguments(statement_ptr & node) {
    if (auto * plain = cast_stmt<identifier>(node)) {
        return { plain->val, nullptr };
    }
    auto * call   = cast_stmt<call_expression>(node);
    auto * callee = call ? cast_stmt<identifier>(call->callee) : nullptr;
    return { callee ? callee->val : "", call ? &call->args : nullptr };
}

template <typename T> void rewrite_named(statement_ptr & node, statement_ptr & operand, statement_ptr & named) {
    auto outer        = std::make_unique<T>();
    auto [name, args] = name_and_arguments(named);
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

void rewrite_set(statement_ptr & node, set_statement & set) {
    rewrite_body(set.body);
    rewrite(set.val);
    auto * member = cast_stmt<member_expression>(set.assignee);
    if (!member || !set.val) {
        return;
    }
    auto outer = std::make_unique<assignment>();
    for (auto * operand : { &member->object, &set.val }) {
        auto place = std::make_unique<slot>();
        place->pos = (*operand)->pos;
        outer->slots.push_back(place.get());
        outer->operands.push_back(std::move(*operand));
        *operand = std::move(place);
    }
    wrap(node, std::move(outer));
}

bool rewrite_statement(statement_ptr & node) {
    if (auto * branch = cast_stmt<if_statement>(node)) {
        rewrite(branch->test);
        rewrite_body(branch->body);
        rewrite_body(branch->alternate);
    } else if (auto * loop = cast_stmt<for_statement>(node)) {
        if (auto * selected = cast_stmt<select_expression>(loop->iterable)) { // which the loop itself evaluates in parts
            rewrite(selected->lhs);
            rewrite(selected->test);
        } else {
            rewrite(loop->iterable);
        }
        rewrite_body(loop->body);
        rewrite_body(loop->default_block);
    } else if (auto * set = cast_stmt<set_statement>(node)) {
        rewrite_set(node, *set);
    } else if (auto * macro = cast_stmt<macro_statement>(node)) {
        for (auto & arg : macro->args) {
            if (auto * keyword = cast_stmt<keyword_argument_expression>(arg)) {
                rewrite(keyword->val);
            }
        }
        rewrite_body(macro->body);
    } else if (auto * block = cast_stmt<call_statement>(node)) {
        auto * call = cast_stmt<call_expression>(block->call);
        rewrite_body(block->body);
        auto outer = std::make_unique<applied_call>();
        rewrite_arguments(call->args);
        outer->take_arguments(call->args);
        outer->take(call->callee);
        wrap(node, std::move(outer));
    } else if (auto * filtered = cast_stmt<filter_statement>(node)) {
        rewrite_body(filtered->body);
        auto body           = std::make_unique<text_block>();
        body->pos           = node->pos;
        body->body          = std::move(filtered->body);
        statement_ptr plain = std::make_unique<filter_expression>(std::move(body), std::move(filtered->filter));
        plain->pos          = node->pos;
        node                = std::move(plain);
        auto * expression   = cast_stmt<filter_expression>(node);
        rewrite_named<applied_filter>(node, expression->operand, expression->filter);
    } else {
        return false;
    }
    return true;
}

void rewrite_expression(statement_ptr & node) {
    if (auto * binary = cast_stmt<binary_expression>(node)) {
        rewrite(binary->left);
        rewrite(binary->right);
        if (binary->op.value != "and" && binary->op.value != "or") { // which do not always evaluate both operands
            auto outer = std::make_unique<applied_operator>();
            outer->op  = binary->op.value;
            outer->take(binary->left);
            outer->take(binary->right);
            wrap(node, std::move(outer));
        }
    } else if (auto * filter = cast_stmt<filter_expression>(node)) {
        rewrite_named<applied_filter>(node, filter->operand, filter->filter);
    } else if (auto * test = cast_stmt<test_expression>(node)) {
        rewrite_named<applied_test>(node, test->operand, test->test);
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
        wrap(node, std::make_unique<measured>());
    } else if (auto * tuple = cast_stmt<tuple_literal>(node)) {
        rewrite_all(tuple->val);
        wrap(node, std::make_unique<measured>());
    } else if (auto * object = cast_stmt<object_literal>(node)) {
        for (auto & [key, item] : object->val) {
            rewrite(key);
            rewrite(item);
        }
        wrap(node, std::make_unique<measured>());
    }
}

void rewrite(statement_ptr & node) {
    if (node && !rewrite_statement(node)) {
        rewrite_expression(node);
    }
}

} // namespace

void guard(program & program) {
    auto whole  = std::make_unique<root>();
    whole->pos  = 0;
    whole->body = std::move(program.body);
    rewrite_body(whole->body);
    program.body.clear();
    program.body.push_back(std::move(whole));
}

} // namespace llamacli
