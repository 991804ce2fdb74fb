"""Tools that models may call: checked, renamed and described for chat templates."""
