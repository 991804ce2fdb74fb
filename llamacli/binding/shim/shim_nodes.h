// Nodes that replace nodes of a Jinja syntax tree, so that results keep the marks of input: see shim_parts.h. Included only by
// shim_marks.cpp, which inserts them.
#pragma once

#include "shim_marks.h"

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

// A node with slots instead of its operands, which are evaluated first.
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
        values given;
        for (const auto & operand : operands) {
            given.push_back(operand->execute(ctx));
        }
        return apply(ctx, given);
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

    virtual value apply(context & ctx, values & given) const = 0;
};

struct applied_addition : applied {
    value apply(context & ctx, values & given) const override {
        if (is_val<value_string>(given[0]) != is_val<value_string>(given[1])) {
            given[0] = as_marked_text(given[0]);
            given[1] = as_marked_text(given[1]);
        }
        return run(ctx, given);
    }
};

struct applied_filter : applied {
    std::string name;

    value apply(context & ctx, values & given) const override {
        return with_marks(name, given[0], arguments(given, 1), run(ctx, given));
    }
};

struct applied_call : applied { // the callee is the last operand, as llama.cpp evaluates it last
    value apply(context & ctx, values & given) const override {
        const auto * called = cast_val<value_func>(given.back());
        value        result = run(ctx, given); // which reports what is not a function
        return called->arg0 ? with_marks(called->name, called->arg0, arguments(given, 0), result) : result;
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
        auto * outputs = recorded();
        if (outputs) {
            prepare(ctx);
        }
        auto results = mk_val<value_array>();
        for (const auto & statement : body) {
            results->push_back(statement->execute(ctx));
        }
        auto text = runtime::gather_string_parts(results);
        if (outputs) {
            auto & output = outputs->emplace_back();
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
