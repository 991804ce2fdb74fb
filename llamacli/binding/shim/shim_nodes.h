// Nodes that replace nodes of a Jinja syntax tree, to check inputs and results: see shim_template.h. Included only by
// shim_guard.cpp, which inserts them.
#pragma once

#include "shim_guard.h"

namespace llamacli {

using namespace jinja; // the names of the nodes

// An already computed value. One thread at a time renders with a template.
struct slot : expression {
    mutable value held;

    std::string type() const override { return "Value"; }
    value       execute_impl(context &) const override { return held; }
};

// Fills slots, and empties them at the end of the block, so that values do not outlive the rendering.
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

// A node with slots instead of its operands, which are evaluated and checked first.
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
            if (!is_stmt<spread_expression>(arg)) { // which llama.cpp reports as unsupported
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

    // The arguments among the values from `first` on; those with a name as llama.cpp's keyword values.
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
            return run(ctx, given); // llama.cpp reports the error
        }
        before(watch, called->name, called->arg0, args);
        value result = run(ctx, given);
        return counted(watch, called->arg0 ? after(called->name, called->arg0, args, result) : result);
    }
};

// A list, tuple or object literal.
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

// A body whose output is a value.
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
    // llama.cpp marks every string of the request as input, including these two, but not the keys of objects.
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

} // namespace llamacli
