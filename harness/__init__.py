"""Which fine-tuning method, at which rank and learning rate, and what does it cost in forgetting?"""

__version__ = "0.1.0"
