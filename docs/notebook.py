# %% [markdown]
# # A run in a notebook
#
# A percent script: Jupyter, VS Code and PyCharm open it as a notebook; `python docs/notebook.py` runs it from a
# checkout. Everything that the command line does is a function; what it returns shows itself as a table and has
# `.plot()`, and `.to_pandas()` where pandas is installed.

# %%
import splitjax

config = splitjax.load("configs/demo_quick.yaml", ["run_dir=runs/notebook"])
results = splitjax.run(config)  # what is done is not done again
results

# %% [markdown]
# The answer is the one of the terminal and of the page.

# %%
print(results["verdict"]["text"])
for step in results["verdict"]["next"]:
    print(f"{step['what']} ({step['price']})  {step['command']}")
results.plot()

# %% [markdown]
# A folder of any run, also of one that still works: its law answers other questions without being touched.

# %%
run = splitjax.open_run("runs/notebook")
run.law

# %%
plan = splitjax.plan(run.law, n_params=run.plan["n_params"], tokens=2 * run.plan["tokens"], experts=run.plan["experts"])
plan.plot()
plan

# %%
run.observations.plot()
run.observations

# %% [markdown]
# The trained experts write, and leave as Hugging Face folders.

# %%
answer = run.generate("def read(", max_tokens=16)
print(answer.expert, f"{answer.weights[answer.expert]:.0%}", repr(answer.text))
splitjax.export(config, "runs/notebook_experts")["experts"]
