// Nodes that take the place of nodes of a Jinja syntax tree, to look at what goes in and comes out: see shim_template.h.
#include "shim_guard.h"
#include "shim_json.h"

#include <cmath>
#include <cstdint>

using namespace jinja; // statement_ptr and the names of the nodes; `string` here is Jinja's, with marks

namespace llamacli {

namespace {

constexpr size_t  MAX_VALUES = 2000000;          // in one container, counted again where they are shared
constexpr int64_t MAX_INT    = int64_t(1) << 53; // beyond, the arithmetic of range() overflows

using values = std::vector<value>;

size_t text_size(const value & v) {
    return is_val<value_string>(v) ? v->val_str.length() : 0;
}

bool is_container(const value & v) {
    return is_val<value_array>(v) || is_val<value_object>(v);
}

bool has_input(const jinja::string & text) {
    for (const auto & part : text.parts) {
        if (part.is_input && !part.val.empty()) {
            return true;
        }
    }
    return false;
}

// Whether any text in a value came from input. Containers are no deeper than `measure` let them be made.
bool has_input(const value & v) {
    if (is_val<value_string>(v)) {
        return has_input(v->val_str);
    }
    for (const auto & item : v->val_arr) {
        if (has_input(item)) {
            return true;
        }
    }
    for (const auto & [key, item] : v->val_obj) {
        if (has_input(key) || has_input(item)) {
            return true;
        }
    }
    return false;
}

value marked(const jinja::string & text) {
    auto result = mk_val<value_string>(text);
    result->mark_input();
    return result;
}

// Checks that a container is no deeper than MAX_DEPTH, not cyclic and not too large: llama.cpp's code for values recurses.
void measure(watch_state & watch, const value & v, size_t depth, size_t & count) {
    if (depth > MAX_DEPTH) {
        watch.stop("nests values too deep");
    }
    if (++count > MAX_VALUES) {
        watch.stop("makes a value of more than 2 million elements");
    }
    const auto * kwarg = cast_val<value_kwarg>(v);
    if (kwarg) {
        measure(watch, kwarg->val, depth, count);
    }
    for (const auto & item : v->val_arr) {
        measure(watch, item, depth + 1, count);
    }
    for (const auto & pair : v->val_obj) {
        measure(watch, pair.second, depth + 1, count);
    }
}

void measure(watch_state & watch, const value & v) {
    size_t count = 0;
    measure(watch, v, 0, count);
}

bool contains(const value & v, const value_t * wanted) {
    if (v.get() == wanted) {
        return true;
    }
    for (const auto & item : v->val_arr) {
        if (contains(item, wanted)) {
            return true;
        }
    }
    for (const auto & pair : v->val_obj) {
        if (contains(pair.second, wanted)) {
            return true;
        }
    }
    return false;
}

// `holder` gets `v` into it: neither too deep nor a circle.
void check_insertion(watch_state & watch, const value & holder, const value & v) {
    measure(watch, v);
    if (is_container(v) && contains(v, holder.get())) {
        watch.stop("puts a value into itself");
    }
}

const value & unwrap(const value & v) {
    const auto * kwarg = cast_val<value_kwarg>(v);
    return kwarg ? kwarg->val : v;
}

// The argument of a call by its name, or else by its place.
value argument(const values & args, const char * name, size_t place) {
    for (const auto & arg : args) {
        const auto * kwarg = cast_val<value_kwarg>(arg);
        if (kwarg && kwarg->key == name) {
            return kwarg->val;
        }
    }
    return place < args.size() && !is_val<value_kwarg>(args[place]) ? args[place] : mk_val<value_undefined>();
}

double number(const value & v) {
    return is_val<value_int>(v) || is_val<value_float>(v) || is_val<value_bool>(v) ? v->as_float() : 0.0;
}

void check_range(watch_state & watch, const values & args) {
    const double first = args.size() > 0 ? number(args[0]) : 0;
    const double start = args.size() > 1 ? first : 0;
    const double stop  = args.size() > 1 ? number(args[1]) : first;
    const double step  = args.size() > 2 ? number(args[2]) : 1;
    if (std::max({ std::fabs(start), std::fabs(stop), std::fabs(step) }) > double(MAX_INT)) {
        watch.stop("calls range() with too large a number");
    }
    if (step != 0 && (stop - start) / step > 0) {
        const double elements = std::ceil((stop - start) / step);
        watch.make_list(size_t(elements));
        watch.make_text(size_t(elements) * sizeof(value_int_t));
    }
}

void check_divisor(watch_state & watch, const values & args) { // llama.cpp divides without a look: SIGFPE
    for (const auto & arg : args) {
        if (is_val<value_int>(arg) && (arg->as_int() == 0 || arg->as_int() == -1)) {
            watch.stop("tests divisibility by 0 or -1");
        }
    }
}

size_t occurrences(const std::string & text, const std::string & wanted) {
    if (wanted.empty()) {
        return text.size() + 1;
    }
    size_t n = 0;
    for (size_t at = text.find(wanted); at != std::string::npos; at = text.find(wanted, at + wanted.size())) {
        n++;
    }
    return n;
}

void check_sortable(watch_state & watch, const value & v) { // std::sort reads out of bounds when numbers do not compare
    for (const auto & item : v->val_arr) {
        if (is_val<value_float>(item) && std::isnan(item->as_float())) {
            watch.stop("sorts what is not a number");
        }
        if (is_container(item)) {
            check_sortable(watch, item);
        }
    }
    for (const auto & pair : v->val_obj) {
        if (is_val<value_float>(pair.second) && std::isnan(pair.second->as_float())) {
            watch.stop("sorts what is not a number");
        }
    }
}

// Before a filter, method, function or test `name` is applied. `self` is what a filter or method is applied to, or nullptr.
void before(watch_state & watch, const std::string & name, const value & self, const values & args) {
    if (name == "range") {
        check_range(watch, args);
    } else if (name == "divisibleby") {
        check_divisor(watch, args);
    } else if (name == "dict" || name == "namespace") {
        for (const auto & arg : args) {
            measure(watch, arg);
        }
    }
    if (!self) {
        return;
    }
    if (name == "append" && !args.empty()) {
        check_insertion(watch, self, args[0]);
        watch.make_list(self->val_arr.size() + 1);
        watch.produced -= self->val_arr.size() * sizeof(value); // appending copies nothing
    } else if (name == "select" || name == "selectattr" || name == "reject" || name == "rejectattr") {
        for (const auto & arg : args) {
            if (is_val<value_string>(arg) && arg->as_string().str() == "divisibleby") {
                check_divisor(watch, args);
            }
        }
    } else if (name == "replace" && args.size() >= 2 && is_val<value_string>(self)) {
        const size_t n = occurrences(self->as_string().str(), unwrap(args[0])->as_string().str());
        watch.make_text(text_size(self) + n * text_size(unwrap(args[1])));
    } else if (name == "join" && is_val<value_array>(self)) {
        size_t bytes = self->val_arr.size() * text_size(argument(args, "d", 0));
        for (const auto & item : self->val_arr) {
            bytes += text_size(item);
        }
        watch.make_text(bytes);
    } else if (name == "indent" && is_val<value_string>(self)) {
        const value  width = argument(args, "width", 0);
        const double spaces = is_val<value_string>(width) ? double(text_size(width)) : number(width);
        const size_t lines  = occurrences(self->as_string().str(), "\n") + 1;
        if (spaces < 0 || spaces > 1000) {
            watch.stop("indents by too much");
        }
        watch.make_text(text_size(self) + lines * size_t(spaces));
    } else if (name == "tojson") {
        const double indent = number(argument(args, "indent", 1));
        if (indent > 16 || text_size(argument(args, "separators", 2)) > 16) {
            watch.stop("indents JSON by too much");
        }
    } else if (name == "sort" || name == "dictsort") {
        check_sortable(watch, self);
    }
}

// `text` with each `old` replaced, the parts keeping their marks.
value replace_parts(const jinja::string & text, const std::string & old, const jinja::string & with) {
    const std::string flat = text.str();
    jinja::string     result;
    size_t            part = 0; // where `at` lies
    size_t            base = 0;
    const auto        copy = [&](size_t from, size_t to) {
        while (from < to) {
            while (from >= base + text.parts[part].val.size()) {
                base += text.parts[part++].val.size();
            }
            const size_t end = std::min(to, base + text.parts[part].val.size());
            result.parts.push_back({ text.parts[part].is_input, text.parts[part].val.substr(from - base, end - from) });
            from = end;
        }
    };
    size_t done = 0;
    for (size_t at = flat.find(old); at != std::string::npos; at = flat.find(old, done)) {
        copy(done, at);
        result.append(with);
        done = at + old.size();
    }
    copy(done, flat.size());
    return mk_val<value_string>(result);
}

value join_parts(const value & self, const values & args) {
    const value   delimiter = argument(args, "d", 0);
    const value   attribute = argument(args, "attribute", 1);
    jinja::string result;
    for (size_t i = 0; i < self->val_arr.size(); ++i) {
        if (i > 0 && !delimiter->is_undefined()) {
            result.append(delimiter->as_string());
        }
        value item = self->val_arr[i];
        if (!attribute->is_undefined()) {
            value missing = mk_val<value_undefined>();
            item          = item->at(attribute, missing);
        }
        result.append(item->as_string());
    }
    return mk_val<value_string>(result);
}

// The marks of what `name` made of `self`: some of llama.cpp's functions lose them.
value after(const std::string & name, const value & self, const values & args, value result) {
    if (result == self || !has_input(self)) {
        if (name != "replace" || args.size() < 2 || !has_input(unwrap(args[1]))) {
            return result;
        }
    }
    if (is_val<value_string>(result)) {
        if (has_input(result)) {
            return result;
        }
        value exact;
        if (name == "replace" && args.size() >= 2 && is_val<value_string>(self) && text_size(unwrap(args[0])) > 0) {
            exact = replace_parts(self->val_str, unwrap(args[0])->as_string().str(), unwrap(args[1])->as_string());
        } else if (name == "join" && is_val<value_array>(self)) {
            exact = join_parts(self, args);
        }
        if (exact && exact->val_str.str() == result->val_str.str()) {
            return exact;
        }
        // An element that is taken out of a list keeps its own marks: `['a', input] | first` is no input.
        return is_val<value_string>(self) || name == "tojson" || name == "string" || name == "join" ? marked(result->val_str) : result;
    }
    if ((name == "split" || name == "rsplit") && is_val<value_array>(result)) {
        for (auto & item : result->val_arr) {
            if (is_val<value_string>(item)) {
                item = marked(item->val_str);
            }
        }
    }
    return result;
}

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
        if (op == "*" && (is_val<value_string>(left) || is_val<value_string>(right))) {
            const double times = number(is_val<value_string>(left) ? right : left);
            const auto & text  = is_val<value_string>(left) ? left : right;
            watch.make_text(size_t(std::min(std::max(times, 0.0), 1e12)) * (text_size(text) + text->val_str.parts.size() * sizeof(string_part)));
        } else if (op == "+" || op == "~") {
            watch.make_text(text_size(left) + text_size(right));
            watch.make_list(left->val_arr.size() + right->val_arr.size());
            if (is_val<value_string>(left) && is_container(right) && has_input(right)) {
                right = marked(right->as_string());
            } else if (is_val<value_string>(right) && is_container(left) && has_input(left)) {
                left = marked(left->as_string());
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
        before(watch, name, nullptr, arguments(given, 1));
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
