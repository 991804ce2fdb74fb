// Nodes that take the place of nodes of a Jinja syntax tree, to look at what goes in and comes out: see shim_template.h.
#include "shim_guard.h"

using namespace jinja; // statement_ptr and the names of the nodes

namespace llamacli {

namespace {

// A value that was computed already. Rendering with one template is for one thread at a time.
struct slot : expression {
    mutable value held;

    std::string type() const override { return "Value"; }
    value       execute_impl(context &) const override { return held; }
};

// Fills slots, and empties them at the end of the block: a value should not outlive its rendering.
struct filling {
    const std::vector<const slot *> & slots;

    filling(const std::vector<const slot *> & slots, const values & held) : slots(slots) {
        for (size_t i = 0; i < slots.size(); ++i) {
            slots[i]->held = held[i];
        }
    }
    ~filling() {
        for (const auto * slot : slots) {
            slot->held = nullptr;
        }
    }
};

// A node with slots in the place of its operands, which are evaluated first and looked at.
struct applied : expression {
    statement_ptr             node;
    statements                operands;
    std::vector<const slot *> slots;

    std::string type() const override { return node->type(); }

    void take(statement_ptr & operand) {
        auto place = std::make_unique<slot>();
        place->pos = operand->pos;
        slots.push_back(place.get());
        operands.push_back(std::move(operand));
        operand = std::move(place);
    }

    void take_arguments(statements & args) {
        for (auto & arg : args) {
            auto * keyword = cast_stmt<keyword_argument_expression>(arg);
            if (!is_stmt<spread_expression>(arg)) { // which llama.cpp cannot evaluate, and says so
                take(keyword ? keyword->val : arg);
                names.push_back(keyword && is_stmt<identifier>(keyword->key) ? cast_stmt<identifier>(keyword->key)->val : "");
            }
        }
    }

    value execute_impl(context & ctx) const override {
        auto * watch = watched();
        values given;
        for (const auto & operand : operands) {
            given.push_back(operand->execute(ctx));
        }
        if (!watch) {
            filling fill(slots, given);
            return node->execute(ctx);
        }
        watch->step();
        return apply(ctx, *watch, given);
    }

  protected:
    std::vector<std::string> names; // of keyword arguments, "" for those without

    value run(context & ctx, const values & given) const {
        filling fill(slots, given);
        return node->execute(ctx);
    }

    // The arguments among the values given, from `first` on, those with a name as llama.cpp's own kind of value.
    values arguments(const values & given, size_t first) const {
        values result;
        for (size_t i = 0; i < names.size(); ++i) {
            const value & v = given[first + i];
            result.push_back(names[i].empty() ? v : value(mk_val<value_kwarg>(names[i], v)));
        }
        return result;
    }

    virtual value apply(context & ctx, watch_state & watch, values & given) const = 0;
};

value counted(watch_state & watch, value result) {
    if (is_val<value_string>(result)) {
        if (result->val_str.parts.size() > 1000) { // many small parts take more than their text
            watch.make_text(result->val_str.parts.size() * sizeof(string_part));
        }
        watch.make_text(result->val_str.length());
    } else if (is_val<value_array>(result)) {
        watch.make_list(result->val_arr.size());
    }
    return result;
}

struct applied_operator : applied {
    std::string op;

    value apply(context & ctx, watch_state & watch, values & given) const override {
        value & left  = given[0];
        value & right = given[1];
        weigh(watch, left);
        weigh(watch, right);
        if (op == "*" && (is_val<value_string>(left) || is_val<value_string>(right))) {
            check_product(watch, is_val<value_string>(left) ? left : right, is_val<value_string>(left) ? right : left);
        } else if (op == "+" || op == "~") {
            watch.make_text(text_size(left) + text_size(right));
            watch.make_list(left->val_arr.size() + right->val_arr.size());
            if (is_val<value_string>(left) != is_val<value_string>(right)) {
                left  = as_marked_text(left);
                right = as_marked_text(right);
            }
        }
        return counted(watch, run(ctx, given));
    }
};

struct applied_filter : applied {
    std::string name;

    value apply(context & ctx, watch_state & watch, values & given) const override {
        const values args = arguments(given, 1);
        before(watch, name, given[0], args);
        return counted(watch, after(name, given[0], args, run(ctx, given)));
    }
};

struct applied_test : applied {
    std::string name;

    value apply(context & ctx, watch_state & watch, values & given) const override {
        const values args = arguments(given, 1);
        for (const auto & v : given) {
            if (!args.empty()) { // it compares
                weigh(watch, v);
            }
        }
        before(watch, name, nullptr, args);
        return run(ctx, given);
    }
};

struct applied_call : applied { // the callee is the last operand, as llama.cpp evaluates it last
    value apply(context & ctx, watch_state & watch, values & given) const override {
        const value  callee = given.back();
        const values args   = arguments(given, 0);
        const auto * called = cast_val<value_func>(callee);
        if (!called) {
            return run(ctx, given); // for llama.cpp to complain
        }
        before(watch, called->name, called->arg0, args);
        value result = run(ctx, given);
        return counted(watch, called->arg0 ? after(called->name, called->arg0, args, result) : result);
    }
};

// A list, tuple or object that is written out in the template.
struct measured : expression {
    statement_ptr node;

    std::string type() const override { return node->type(); }
    value       execute_impl(context & ctx) const override {
        value result = node->execute(ctx);
        if (auto * watch = watched()) {
            watch->step();
            watch->make_list(result->val_arr.size() + result->val_obj.size());
            measure(*watch, result);
        }
        return result;
    }
};

// {% set object.name = value %}
struct assignment : statement {
    statement_ptr             node;
    statements                operands; // the object and the value
    std::vector<const slot *> slots;

    std::string type() const override { return node->type(); }
    value       execute_impl(context & ctx) const override {
        const values given = { operands[0]->execute(ctx), operands[1]->execute(ctx) };
        if (auto * watch = watched()) {
            watch->step();
            check_insertion(*watch, given[0], given[1]);
        }
        filling fill(slots, given);
        return node->execute(ctx);
    }
};

// A statement of a body.
struct step : statement {
    statement_ptr node;

    std::string type() const override { return node->type(); }
    value       execute_impl(context & ctx) const override {
        auto * watch = watched();
        if (watch) {
            watch->step();
        }
        value result = node->execute(ctx);
        if (watch) {
            weigh(*watch, result);
            watch->give(text_size(result));
        }
        return result;
    }
};

// A body that gives its text as a value.
struct text_block : expression {
    statements body;

    std::string type() const override { return "Block"; }
    value       execute_impl(context & ctx) const override {
        auto results = mk_val<value_array>();
        for (const auto & statement : body) {
            results->push_back(statement->execute(ctx));
        }
        auto text = mk_val<value_string>();
        gather_string_parts_recursive(results, text);
        return text;
    }
};

// The whole program as one statement.
struct root : statement {
    statements body;

    std::string type() const override { return "Program"; }
    value       execute_impl(context & ctx) const override {
        auto * watch = watched();
        if (watch) {
            prepare(ctx);
        }
        auto results = mk_val<value_array>();
        for (const auto & statement : body) {
            results->push_back(statement->execute(ctx));
        }
        auto text = runtime::gather_string_parts(results);
        if (watch) {
            auto & output = watch->outputs.emplace_back();
            for (const auto & part : text->val_str.parts) {
                output.push_back({ part.is_input, part.val });
            }
        }
        return text;
    }

  private:
    // llama.cpp marks each string of the request as input, these two as well, but no key of an object.
    static void prepare(context & ctx) {
        for (const char * name : { "bos_token", "eos_token" }) {
            const value token = ctx.get_val(name);
            if (is_val<value_string>(token)) {
                ctx.set_val(name, mk_val<value_string>(token->val_str.str()));
            }
        }
        for (const char * name : { "messages", "tools" }) {
            mark_keys(ctx.get_val(name));
        }
    }

    static void mark_keys(const value & v) {
        for (const auto & item : v->val_arr) {
            mark_keys(item);
        }
        for (const auto & [key, item] : v->val_obj) {
            key->val_str.mark_input();
            mark_keys(item);
        }
    }
};

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

// Puts `outer` in the place of `node`, which becomes its part.
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

// The name of a filter or test, and its arguments, which may be none.
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
        if (auto * selected = cast_stmt<select_expression>(loop->iterable)) { // which the loop itself takes apart
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
        if (binary->op.value != "and" && binary->op.value != "or") { // which do not always evaluate both
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
