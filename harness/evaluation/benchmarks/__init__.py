"""Benchmark tasks that the model was not trained for, run by lm-eval before and after tuning.

Every metric of a task is a score of the base and of the tuned model. The change of the main one is
``forgetting.tasks``. lm-eval's response cache has no model in its key, so it is never used.
"""

from harness.evaluation.benchmarks.chat_form import check_chat_template
from harness.evaluation.benchmarks.loading import check_tasks
from harness.evaluation.benchmarks.measured_tasks import add, scores_of
from harness.evaluation.benchmarks.results import Results, TaskScores
from harness.evaluation.benchmarks.task_folder import folder_tasks, task_folder
from harness.evaluation.benchmarks.task_run import base_results, import_library, run_tasks, wanted

__all__ = [
    "Results",
    "TaskScores",
    "add",
    "base_results",
    "check_chat_template",
    "check_tasks",
    "folder_tasks",
    "import_library",
    "run_tasks",
    "scores_of",
    "task_folder",
    "wanted",
]
